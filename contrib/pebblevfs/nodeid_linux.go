package pebblevfs

import (
	"os"
	"syscall"
)

func idOf(info os.FileInfo) nodeID {
	st := info.Sys().(*syscall.Stat_t)
	return nodeID{dev: uint64(st.Dev), ino: st.Ino}
}
