package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// writeReport writes the table, in one piece.
func writeReport(w io.Writer, o *benchOptions, rows []*row) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Random reads of %d bytes with O_DIRECT; file: %s; rounds: %d; kernel: %s\n\n",
		blockSize, humanize.IBytes(uint64(o.Size)), o.Rounds, kernelRelease())
	if err := writeTable(&b, rows); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\nAll %s blocks that were read had the right content.\n", humanize.Comma(allReads(rows)))
	b.WriteString("IOPS and MB/s: median of the rounds. Latency and CPU (user and system): all rounds. Threads: those that ran.\n")
	_, err := w.Write(b.Bytes())
	return err
}

func writeTable(w io.Writer, rows []*row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "depth\tcontender\tIOPS\tmin-max\tMB/s\tp50 µs\tp99 µs\tCPU µs/op\tthreads\tvs ReadAt\t")
	for i, r := range rows {
		least, most := r.spread()
		fmt.Fprintf(t, "%d\t%s\t%s\t%s-%s\t%.1f\t%s\t%s\t%s\t%s\t%s\t\n",
			r.depth, r.contender,
			whole(r.median()), whole(least), whole(most),
			r.median()*blockSize/1e6,
			micros(time.Duration(r.latencies.ValueAtPercentile(50))),
			micros(time.Duration(r.latencies.ValueAtPercentile(99))),
			micros(r.cpuPerRead()),
			known(r.threads), ratio(rows, i))
	}
	return t.Flush()
}

// ratio compares a row with the last contender of the same depth.
func ratio(rows []*row, i int) string {
	last := i - i%len(contenders) + len(contenders) - 1
	if i == last {
		return "1.00x"
	}
	return fmt.Sprintf("%.2fx", rows[i].median()/rows[last].median())
}

func allReads(rows []*row) (n int64) {
	for _, r := range rows {
		n += r.reads()
	}
	return n
}

// whole is a number without its fraction, with separators: 12,345.
func whole(f float64) string { return humanize.Comma(int64(math.Round(f))) }

// micros is a time in microseconds with one decimal.
func micros(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Microsecond), 'f', 1, 64)
}

// known is a count, or "?" for 0, which means that it could not be found out.
func known(n int) string {
	if n == 0 {
		return "?"
	}
	return strconv.Itoa(n)
}
