// Holds libaio.h, and the layout that engine_syscall.go has, against the kernel's
// own header. scripts/test-arch.sh compiles this, for each machine.

#include "../../libaio.h"

#define iocb kernel_iocb
#define io_event kernel_event
#include <linux/aio_abi.h>
#undef iocb
#undef io_event

#define SAME(ours, theirs) \
	_Static_assert(offsetof(struct iocb, ours) == offsetof(struct kernel_iocb, theirs), #theirs)

SAME(data, aio_data);
SAME(aio_rw_flags, aio_rw_flags);
SAME(aio_lio_opcode, aio_lio_opcode);
SAME(aio_reqprio, aio_reqprio);
SAME(aio_fildes, aio_fildes);
SAME(u.c.buf, aio_buf);
SAME(u.c.nbytes, aio_nbytes);
SAME(u.c.offset, aio_offset);
SAME(u.c.flags, aio_flags);
SAME(u.c.resfd, aio_resfd);
_Static_assert(sizeof(struct iocb) == sizeof(struct kernel_iocb), "iocb");
_Static_assert(sizeof(struct io_event) == sizeof(struct kernel_event), "io_event");
_Static_assert(offsetof(struct io_event, res) == offsetof(struct kernel_event, res), "res");
_Static_assert(GOLIBAIO_FLAG_RESFD == IOCB_FLAG_RESFD && GOLIBAIO_FLAG_IOPRIO == IOCB_FLAG_IOPRIO, "flags");
_Static_assert(IO_CMD_PREAD == IOCB_CMD_PREAD && IO_CMD_PWRITE == IOCB_CMD_PWRITE && IO_CMD_FSYNC == IOCB_CMD_FSYNC &&
	IO_CMD_FDSYNC == IOCB_CMD_FDSYNC && IO_CMD_POLL == IOCB_CMD_POLL && IO_CMD_PREADV == IOCB_CMD_PREADV &&
	IO_CMD_PWRITEV == IOCB_CMD_PWRITEV, "opcodes");
