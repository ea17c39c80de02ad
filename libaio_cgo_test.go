//go:build linux && cgo && !nolibaio

package libaio

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// blocksInUse is for the inventory of TestMain. What C has allocated is the
// address sanitizer's to count.
func blocksInUse() int { return 0 }

// compileHeader compiles libaio.h, with the system's headers in dir before all
// others, or alone.
func compileHeader(t *testing.T, dir string, alone bool) (string, error) {
	t.Helper()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("there is no C compiler: ", err)
	}
	if _, err := os.Stat("libaio.h"); err != nil {
		t.Skip("the source is not there: ", err)
	}
	args := []string{"-isystem", dir, "-fsyntax-only", "-x", "c", "-"}
	if alone {
		args = append(args, "-nostdinc")
	}
	compile := exec.Command(compiler, args...)
	compile.Stdin = strings.NewReader("#include \"libaio.h\"\n")
	out, err := compile.CombinedOutput()
	return string(out), err
}

// Where the header is missing, the compiler names the package to install.
func TestHeaderMissing(t *testing.T) {
	out, err := compileHeader(t, t.TempDir(), true)
	require.Error(t, err)
	require.Contains(t, out, "the header of the system library is missing. Install libaio-dev (Debian")
	out, err = compileHeader(t, t.TempDir(), false)
	require.NoError(t, err, out)
}

// Where it is too old, the compiler says so first.
func TestHeaderTooOld(t *testing.T) {
	header, err := os.ReadFile("/usr/include/libaio.h")
	if os.IsNotExist(err) {
		t.Skip("the header is elsewhere: ", err)
	}
	require.NoError(t, err)
	for _, since := range []string{`extern int io_pgetevents\([^;]*;`, `, aio_rw_flags\)`, `iocb->aio_rw_flags = .*;`} {
		re := regexp.MustCompile(since)
		require.Regexp(t, re, string(header))
		header = re.ReplaceAll(header, []byte(map[bool]string{true: ", __pad2)"}[strings.HasPrefix(since, ",")]))
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "libaio.h"), header, 0o600))
	out, err := compileHeader(t, dir, false)
	require.Error(t, err)
	at := strings.Index(out, "error:")
	require.Contains(t, out[at:at+200], "the header of the system library is older than libaio 0.3.111")
}
