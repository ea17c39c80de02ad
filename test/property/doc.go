// Package property tests the library with random sequences of calls, each held
// against a model of what the library promises.
package property
