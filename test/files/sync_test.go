package files

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever our own calls do to one file at the same time, none of them makes the
// kernel doubt its page cache, which it tells by an error of the next sync. On
// ext4 it did so for writes of whole sectors in the page that the file ends in.
func TestSyncsBesideEverything(t *testing.T) {
	onAll(t, func(t *testing.T, dir string) {
		f := open(t, filepath.Join(dir, "x"), os.O_RDWR|os.O_CREATE)
		var wg sync.WaitGroup
		for i := range 4 {
			p := pair{t: t, r: newRand(t), ours: f}
			wg.Go(func() {
				for range steps(1000) {
					size, err := f.Size()
					assert.NoError(t, err)
					n, off := p.length()%(6*block), p.offset(min(size, 40*block))
					switch i {
					case 0:
						err = f.Truncate(off)
					case 1:
						err = f.Sync()
					case 2: // whole sectors
						_, err = f.WriteAt(make([]byte, n/512*512), off/512*512)
					case 3:
						_, err = f.WriteAt(make([]byte, n), off)
					}
					if !assert.NoError(t, err) {
						return
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, f.Sync())
	})
}
