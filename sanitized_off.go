//go:build !asan && !msan

package libaio

const sanitized = false
