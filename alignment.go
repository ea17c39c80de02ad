package libaio

import "fmt"

// Alignment is what direct I/O on a file demands, in bytes. The zero value
// means that there is no demand, as for buffered I/O.
type Alignment struct {
	Memory int // of the address of the memory; 0: none
	Offset int // of the offset in the file, and of the length; 0: none, so look before you divide by it
	// Source is where the numbers come from.
	Source AlignmentSource
}

// Known says whether there is a demand and somebody told it. Where there is one and
// nobody did, the numbers are a cautious guess: the File's own methods keep to it,
// and of operations that are given to a Queue the kernel judges, with EINVAL.
func (a Alignment) Known() bool {
	return a.Memory > 0 && a.Offset > 0 && a.Source != AlignmentGuess
}

// AlignmentSource is where an Alignment comes from.
type AlignmentSource uint8

const (
	// AlignmentNone: nobody was asked, as there is no demand.
	AlignmentNone AlignmentSource = iota
	// AlignmentStatx: statx(2) with STATX_DIOALIGN, Linux 6.1.
	AlignmentStatx
	// AlignmentXFS: the XFS_IOC_DIOINFO of XFS.
	AlignmentXFS
	// AlignmentBlockDevice: the BLKSSZGET of a block device, its logical block
	// size.
	AlignmentBlockDevice
	// AlignmentGuess: nobody could tell. 4096 satisfies the devices and file
	// systems that there are.
	AlignmentGuess
)

var alignmentSources = [...]string{
	AlignmentNone:        "no demand",
	AlignmentStatx:       "statx",
	AlignmentXFS:         "XFS_IOC_DIOINFO",
	AlignmentBlockDevice: "BLKSSZGET",
	AlignmentGuess:       "a guess",
}

// String is the name of the source, such as "statx".
func (s AlignmentSource) String() string {
	if int(s) < len(alignmentSources) {
		return alignmentSources[s]
	}
	return fmt.Sprintf("AlignmentSource(%d)", uint8(s))
}

// guessedAlignment is where nobody tells.
const guessedAlignment = 4096

// guess is the Alignment that satisfies all that there is.
func guess() Alignment {
	return Alignment{Memory: guessedAlignment, Offset: guessedAlignment, Source: AlignmentGuess}
}

// aligned says whether an operation may go to the kernel as it is. address is 0
// where the memory will be chosen to fit.
func (a Alignment) aligned(address uintptr, off int64, n int) bool {
	return address%uintptr(a.Memory) == 0 && off%int64(a.Offset) == 0 && n%a.Offset == 0
}
