//go:build linux && !asan

package libaio

const underASan = false
