//go:build linux && !race && (!cgo || nolibaio)

package libaio

func raceSubmit() {}

func raceReap() {}
