//go:build asan

package libaio

const underASan = true
