package main

import (
	"fmt"
	"image/color"
	"os"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth  = 11 * vg.Centimeter
	plotHeight = 8 * vg.Centimeter
	plotGap    = vg.Centimeter / 2

	legendWidth = 4 * vg.Centimeter
)

// colours of the contenders, in the order of rivals: Okabe and Ito's, which
// those who see few colours can tell apart.
var colours = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff},
	{0xd5, 0x5e, 0x00, 0xff},
	{0x00, 0x9e, 0x73, 0xff},
	{0x00, 0x00, 0x00, 0xff},
	{0xe6, 0x9f, 0x00, 0xff},
	{0xcc, 0x79, 0xa7, 0xff},
	{0x56, 0xb4, 0xe9, 0xff},
}

// writePlot draws IOPS over depth: a row for each target, a column for each
// workload, the names of the contenders at the right.
func writePlot(path string, results []*result) error {
	var rows, columns []string
	for _, r := range results {
		rows = appendNew(rows, r.target)
		columns = appendNew(columns, r.workload.name)
	}
	legend := plot.NewLegend()
	legend.Top, legend.Left = true, true
	legend.Padding = plotGap / 2
	plots := make([][]*plot.Plot, len(rows))
	for i, target := range rows {
		for _, workload := range columns {
			p, err := newPlot(target, workload, results)
			if err != nil {
				return err
			}
			plots[i] = append(plots[i], p)
		}
	}
	for i, name := range rivalNames() {
		if slices.ContainsFunc(results, func(r *result) bool { return r.contender == name }) {
			legend.Add(name, &plotter.Line{LineStyle: lineStyle(i)})
		}
	}
	width, height := plotWidth*vg.Length(len(columns)), plotHeight*vg.Length(len(rows))
	canvas := vgsvg.New(width+legendWidth, height)
	all := draw.New(canvas)
	tiles := draw.Tiles{
		Rows: len(rows), Cols: len(columns), PadX: plotGap, PadY: plotGap,
		PadLeft: plotGap, PadTop: plotGap, PadBottom: plotGap,
	}
	for i, line := range plot.Align(plots, tiles, draw.Crop(all, 0, -legendWidth, 0, 0)) {
		for j, tile := range line {
			if plots[i][j] != nil {
				plots[i][j].Draw(tile)
			}
		}
	}
	legend.Draw(draw.Crop(all, width, -plotGap, 0, -plotGap))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return alongside(err, f.Close())
}

func appendNew[T comparable](all []T, one T) []T {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

func lineStyle(i int) draw.LineStyle {
	return draw.LineStyle{Color: colours[i%len(colours)], Width: vg.Points(1.5)}
}

// newPlot draws the contenders of one target and workload; nil where there are
// none.
func newPlot(target, workload string, results []*result) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s, %s", target, workload)
	p.X.Label.Text = "depth"
	p.Y.Label.Text = "IOPS"
	p.X.Scale = plot.LogScale{}
	p.Y.Min = 0
	p.Add(plotter.NewGrid())
	var depths []int
	for i, name := range rivalNames() {
		var points plotter.XYs
		for _, r := range results {
			if r.target == target && r.workload.name == workload && r.contender == name {
				points = append(points, plotter.XY{X: float64(r.depth), Y: r.median((*trialOutcome).iops)})
				depths = appendNew(depths, r.depth)
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.LineStyle = lineStyle(i)
		dots.Color, dots.Shape = line.Color, draw.CircleGlyph{}
		p.Add(line, dots)
	}
	if len(depths) == 0 {
		return nil, nil
	}
	var ticks plot.ConstantTicks
	for _, depth := range depths {
		ticks = append(ticks, plot.Tick{Value: float64(depth), Label: strconv.Itoa(depth)})
	}
	p.X.Tick.Marker = ticks
	// A little room on both sides; a single depth would have no width at all.
	p.X.Min, p.X.Max = float64(slices.Min(depths))/1.1, float64(slices.Max(depths))*1.1
	return p, nil
}
