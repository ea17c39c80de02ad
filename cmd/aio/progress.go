package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/sys/unix"
)

// progress shows how far a run is, one phase after the other.
type progress interface {
	// begin starts a phase of so many steps, or bytes.
	begin(phase string, total int64, bytes bool)
	// now says what the next step is.
	now(what string)
	// advance counts n steps; result, where there is one, is what they gave.
	advance(n int64, result string)
	// end ends the phase, if there is one.
	end()
}

// newProgress is a bar on a terminal and lines elsewhere.
func newProgress(w io.Writer) progress {
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		return &barProgress{out: w}
	}
	return &lineProgress{out: w}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// barProgress is a bar that is gone at the end. A terminal that cannot be
// written to is no reason to stop: errors of the bar are not looked at.
type barProgress struct {
	out io.Writer
	bar *progressbar.ProgressBar
}

func (p *barProgress) begin(phase string, total int64, bytes bool) {
	var throttle time.Duration
	if bytes {
		throttle = 50 * time.Millisecond // steps are few, writes are many
	}
	p.bar = progressbar.NewOptions64(total,
		progressbar.OptionThrottle(throttle),
		progressbar.OptionSetWriter(p.out),
		progressbar.OptionSetDescription(phase),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(10), // a whole line fits into 80 columns
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetRenderBlankState(true),
	)
}

func (p *barProgress) now(what string) { p.bar.Describe(what) }

func (p *barProgress) advance(n int64, _ string) { _ = p.bar.Add64(n) }

func (p *barProgress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
		_ = p.bar.Exit()
		p.bar = nil
	}
}

// lineProgress is a line per phase and per result, and for bytes one at each
// quarter.
type lineProgress struct {
	out         io.Writer
	total, done int64
	bytes       bool
}

func (p *lineProgress) begin(phase string, total int64, bytes bool) {
	p.total, p.done, p.bytes = total, 0, bytes
	fmt.Fprintln(p.out, phase)
}

func (p *lineProgress) now(string) {}

func (p *lineProgress) advance(n int64, result string) {
	before := p.done * 4 / p.total
	p.done += n
	switch {
	case result != "":
		fmt.Fprintf(p.out, "%d/%d %s\n", p.done, p.total, result)
	case p.bytes && p.done*4/p.total > before:
		fmt.Fprintf(p.out, "%s of %s\n", humanize.IBytes(uint64(p.done)), humanize.IBytes(uint64(p.total)))
	}
}

func (p *lineProgress) end() {}

var (
	_ progress = (*barProgress)(nil)
	_ progress = (*lineProgress)(nil)
)
