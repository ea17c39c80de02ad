package pebblevfs

import (
	"testing"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
)

// newQueue is closed behind what the test cleans up after it.
func newQueue(t testing.TB) *libaio.Queue {
	t.Helper()
	q, err := libaio.NewQueue(64, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, q.Close())
		s := q.Stats()
		require.Equal(t, s.Submitted, s.Completed, "exactly one completion for each accepted operation")
	})
	return q
}
