//go:build asan || msan

package libaio

// sanitized says that a sanitizer watches the memory of C.
const sanitized = true
