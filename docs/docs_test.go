// Package docs holds the tests of the documents: sentences are short, links
// lead somewhere, and the index names every document.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxWords is how long a sentence may be. Inline code counts as one word.
const maxWords = 30

// documents returns the paths of all documents, from this folder.
func documents(t *testing.T) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			list = append(list, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 10 {
		t.Fatalf("only %d documents found: %q", len(list), list)
	}
	return list
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSentencesAreShort(t *testing.T) {
	for _, path := range documents(t) {
		for _, s := range sentences(read(t, path)) {
			if n := len(strings.Fields(s)); n > maxWords {
				t.Errorf("%s: %d words, at most %d: %s", path, n, maxWords, s)
			}
		}
	}
}

func TestRelativeLinksLeadSomewhere(t *testing.T) {
	for _, path := range documents(t) {
		text := withoutCode(read(t, path))
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[2]
			if strings.Contains(target, "://") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			to := path
			if file != "" {
				to = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: the link %q: %v", path, target, err)
				continue
			}
			if anchor != "" && !anchors(read(t, to))[anchor] {
				t.Errorf("%s: the link %q: %s has no such heading", path, target, to)
			}
		}
	}
}

func TestTheIndexNamesEveryDocument(t *testing.T) {
	named := make(map[string]bool)
	for _, m := range link.FindAllStringSubmatch(read(t, "README.md"), -1) {
		file, _, _ := strings.Cut(m[2], "#")
		named[filepath.Clean(file)] = true
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") && path != "README.md" && !named[path] {
			t.Errorf("README.md does not name %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTheMapHasEveryRoomAndNoOther(t *testing.T) {
	named := make(map[string]bool)
	for line := range strings.Lines(read(t, "design.md")) {
		if first, _, ok := strings.Cut(strings.TrimPrefix(line, "|"), "|"); ok && strings.HasPrefix(line, "|") {
			for _, m := range room.FindAllStringSubmatch(first, -1) {
				named[m[1]] = true
				if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
					t.Errorf("design.md names a folder that is not there: %v", err)
				}
			}
		}
	}
	for _, parent := range []string{"internal", "internal/monitor", "libos"} {
		folders, err := os.ReadDir(filepath.Join("..", parent))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range folders {
			if path := parent + "/" + f.Name(); f.IsDir() && !named[path] {
				t.Errorf("no table of design.md names the folder %s", path)
			}
		}
	}
}

func TestSentencesEndWhereTheyDo(t *testing.T) {
	text := "# A heading that is none\n\nOne two. Three `a b c` four\nfive: [six seven](x.md#y.z). 1.5 is e.g. one.\n\n" +
		"| a table. | x |\n\n    indented code here\n\n- An item (with two). Its second.\n- Another item\n  goes on\n\n```\nfenced code\n```\n\n1. First.\n"
	got := strings.Join(sentences(text), "|")
	want := "One two.|Three CODE four five: six seven.|1.5 is e.g. one.|An item (with two).|Its second.|Another item goes on|First."
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	got := anchors("# What a `pith run` does\n\n## 1. C++, Go's own\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n")
	for _, want := range []string{"what-a-pith-run-does", "1-c-gos-own", "twice", "twice-1"} {
		if !got[want] {
			t.Errorf("no anchor %q in %v", want, got)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d anchors, want 4: %v", len(got), got)
	}
}

var (
	link        = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]+)\)`)
	room        = regexp.MustCompile("`((?:cmd|internal|libos|vm|nucleus)[a-z0-9/]*)`")
	inlineCode  = regexp.MustCompile("`[^`\n]+`")
	listItem    = regexp.MustCompile(`^\s*([-*]|\d+\.) `)
	sentenceEnd = regexp.MustCompile(`[.!?][)"*]*\s+([A-Z0-9\["*(]|CODE)`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// withoutCode returns the text without its blocks of code and its inline code.
func withoutCode(text string) string {
	var b strings.Builder
	fenced, before := false, ""
	for line := range strings.Lines(text) {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		indented := strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t")
		if fence {
			fenced = !fenced
		}
		// An indented line is code after a blank line, or after code.
		code := fence || fenced || indented && (before == "" || before == "code")
		switch {
		case code:
			before = "code"
			b.WriteString("\n")
			continue
		case strings.TrimSpace(line) == "":
			if before != "code" {
				before = ""
			}
		default:
			before = "text"
		}
		b.WriteString(line)
	}
	return inlineCode.ReplaceAllString(b.String(), "CODE")
}

// sentences returns the sentences of the prose: paragraphs and items of lists.
func sentences(text string) []string {
	var list []string
	var paragraph []string
	end := func() {
		p := link.ReplaceAllString(strings.Join(paragraph, " "), "$1")
		paragraph = nil
		p = strings.Join(strings.Fields(p), " ")
		for p != "" {
			at := sentenceEnd.FindStringSubmatchIndex(p)
			if at == nil {
				list = append(list, p)
				break
			}
			list = append(list, strings.TrimSpace(p[:at[2]]))
			p = p[at[2]:]
		}
	}
	for line := range strings.Lines(withoutCode(text)) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "", strings.HasPrefix(trimmed, "|"), strings.HasPrefix(trimmed, "#"), strings.HasPrefix(trimmed, "<!--"):
			end()
			continue
		case listItem.MatchString(line):
			end()
			trimmed = strings.TrimSpace(listItem.ReplaceAllString(line, ""))
		}
		paragraph = append(paragraph, trimmed)
	}
	end()
	return list
}

// anchors returns the names that GitHub gives to the text's headings.
func anchors(text string) map[string]bool {
	names := make(map[string]bool)
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		title := strings.TrimLeft(line, "#")
		if fenced || title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		title = link.ReplaceAllString(strings.TrimSpace(title), "$1")
		name := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
		if names[name] {
			name += "-1"
		}
		names[name] = true
	}
	return names
}
