//go:build linux

package main

import (
	"os"
	"strings"
	"testing"
)

func Example() {
	dir := must(os.MkdirTemp("", "libaio-hello-"))
	defer os.RemoveAll(dir)
	if err := os.Chdir(dir); err != nil {
		panic(err)
	}
	main()
	// Output: tag 7: 4096 bytes: hello, disk (error: <nil>)
}

// The program in the README is this one.
func TestREADME(t *testing.T) {
	readme, program := read(t, "../../README.md"), read(t, "main.go")
	if !strings.Contains(readme, "```go\n"+program+"```\n") {
		t.Error("the program in README.md is not examples/hello/main.go")
	}
}

func read(t *testing.T, name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
