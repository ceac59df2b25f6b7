package other

import "testing"

func TestMain(m *testing.M) { m.Run() }

func TestOther(t *testing.T) { t.Log("another package") }
