package main

import (
	"encoding/json"
	"os"
	"testing"
)

func TestThePageIsMadeOfTheRecord(t *testing.T) {
	t.Chdir("..")
	data, err := os.ReadFile(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(markdownFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != d.markdown() {
		t.Errorf("%s is not what %s makes", markdownFile, jsonFile)
	}
}
