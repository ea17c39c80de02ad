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
// workload.
func writePlot(path string, results []*result) error {
	var rows, columns []string
	for _, r := range results {
		rows = appendNew(rows, r.target)
		columns = appendNew(columns, r.workload.name)
	}
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
	canvas := vgsvg.New(plotWidth*vg.Length(len(columns)), plotHeight*vg.Length(len(rows)))
	tiles := draw.Tiles{Rows: len(rows), Cols: len(columns), PadX: vg.Centimeter, PadY: vg.Centimeter}
	for i, line := range plot.Align(plots, tiles, draw.New(canvas)) {
		for j, tile := range line {
			plots[i][j].Draw(tile)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return alongside(err, f.Close())
}

func appendNew(all []string, one string) []string {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

// newPlot draws the contenders of one target and workload.
func newPlot(target, workload string, results []*result) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s, %s", target, workload)
	p.X.Label.Text = "depth"
	p.Y.Label.Text = "IOPS"
	p.X.Scale = plot.LogScale{}
	p.Y.Min = 0
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	var ticks plot.ConstantTicks
	for i, name := range rivalNames() {
		var points plotter.XYs
		for _, r := range results {
			if r.target == target && r.workload.name == workload && r.contender == name {
				points = append(points, plotter.XY{X: float64(r.depth), Y: r.median((*trialOutcome).iops)})
				ticks = append(ticks, plot.Tick{Value: float64(r.depth), Label: strconv.Itoa(r.depth)})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, dots.Color = colours[i], colours[i]
		dots.Shape = draw.CircleGlyph{}
		p.Add(line, dots)
		p.Legend.Add(name, line, dots)
	}
	p.X.Tick.Marker = ticks
	return p, nil
}
