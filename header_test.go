//go:build linux

package libaio

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notBound are the functions of libaio that have no counterpart, and why.
var notBound = map[string]string{
	"io_set_callback": "a callback is a C function; Event.Obj and Event.Data say whose completion it is",
	"io_queue_run":    "it calls the callbacks; range over what GetEvents returns",
	"io_poll":         "io_prep_poll, io_set_callback and io_submit in one",
	"io_fsync":        "io_prep_fsync, io_set_callback and io_submit in one",
	"io_fdsync":       "io_prep_fdsync, io_set_callback and io_submit in one",
}

// Every function of the installed header is bound, and its counterpart says so
// in its comment; and no comment names what is not there.
func TestHeaderIsComplete(t *testing.T) {
	const name = "/usr/include/libaio.h"
	header, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		t.Skipf("%s is not there: the library is built from elsewhere", name)
	}
	require.NoError(t, err)
	inHeader := make(map[string]bool)
	comments := regexp.MustCompile(`(?s)/\*.*?\*/`)
	for _, m := range regexp.MustCompile(`(?m)^(?:extern|static inline) \w+ (io_\w+)\(`).FindAllStringSubmatch(comments.ReplaceAllString(string(header), ""), -1) {
		inHeader[m[1]] = true
	}
	require.Greater(t, len(inHeader), 20)

	inDocs := namedInComments(t)
	for f := range inHeader {
		if notBound[f] == "" {
			assert.True(t, inDocs[f], "no exported function says that it stands for %s", f)
		}
	}
	for f := range inDocs {
		assert.True(t, inHeader[f], "a comment names %s, which %s does not have", f, name)
	}
	for f := range notBound {
		assert.True(t, inHeader[f], "notBound has %s, which %s does not have", f, name)
		assert.False(t, inDocs[f], "notBound has %s, which is bound", f)
	}
}

// namedInComments is every io_ function behind "Stands for" in the comments of
// the package.
func namedInComments(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	named := make(map[string]bool)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		text := strings.ReplaceAll(string(source), "\n// ", " ")
		for _, sentence := range regexp.MustCompile(`Stands for ([^.]*)\.`).FindAllStringSubmatch(text, -1) {
			for _, f := range regexp.MustCompile(`\bio_\w+`).FindAllString(sentence[1], -1) {
				named[f] = true
			}
		}
	}
	return named
}
