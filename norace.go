//go:build !race

package libaio

func raceSubmit() {}

func raceReap() {}
