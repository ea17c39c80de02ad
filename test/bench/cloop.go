package bench

// #include <stdlib.h>
// #include <string.h>
//
// static int allocFree(long n, size_t align, size_t size, int zero)
// {
// 	for (long i = 0; i < n; i++) {
// 		void *p;
// 		if (posix_memalign(&p, align, size))
// 			return -1;
// 		if (zero)
// 			memset(p, 0, size);
// 		__asm__ volatile("" : : "r"(p) : "memory"); // somebody could look at it
// 		free(p);
// 	}
// 	return 0;
// }
import "C"

// cAllocFree is a loop in C: posix_memalign, memset where zero, free.
func cAllocFree(n, align, size int, zero bool) bool {
	z := C.int(0)
	if zero {
		z = 1
	}
	return C.allocFree(C.long(n), C.size_t(align), C.size_t(size), z) == 0
}
