//go:build !linux

package libaio

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where there is no AIO every constructor says so, and what one gets all the
// same fails and does nothing.
func TestUnsupported(t *testing.T) {
	constructors := map[string]func() error{
		"NewQueue": func() error { _, err := NewQueue(8, nil); return err },
		"Setup":    func() error { _, err := Setup(8); return err },
		"NewIOCB":  func() error { _, err := NewIOCB(); return err },
		"Alloc":    func() error { _, err := Alloc(4096, 4096); return err },
		"Open":     func() error { _, err := Open("file"); return err },
		"Create":   func() error { _, err := Create("file"); return err },
		"OpenFile": func() error { _, err := OpenFile("file", os.O_RDWR, 0); return err },
		"NewFile":  func() error { _, err := NewFile(os.Stdin); return err },
		"Limits":   func() error { _, err := Limits(); return err },
		"Probe":    func() error { return Probe(nil).AIO },
		"Pool.Get": func() error {
			p, err := NewPool(4096, 4096)
			if err == nil {
				_, err = p.Get()
			}
			return err
		},
	}
	for name, construct := range constructors {
		t.Run(name, func(t *testing.T) {
			err := construct()
			require.ErrorIs(t, err, errors.ErrUnsupported)
			var e *Error
			require.ErrorAs(t, err, &e)
		})
	}
	_, err := NewQueue(0, nil)
	require.ErrorIs(t, err, ErrInvalid)
	require.Empty(t, Probe(nil).Engine)
	require.NoError(t, BorrowFD(0, "").Close())
	_, err = os.Stat("file")
	require.ErrorIs(t, err, os.ErrNotExist)
}
