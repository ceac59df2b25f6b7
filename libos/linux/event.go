package linux

// Flags of eventfd2(2), timerfd_create(2) and timerfd_settime(2).
const (
	EFD_SEMAPHORE = 1
	EFD_NONBLOCK  = O_NONBLOCK
	EFD_CLOEXEC   = O_CLOEXEC

	TFD_NONBLOCK            = O_NONBLOCK
	TFD_CLOEXEC             = O_CLOEXEC
	TFD_TIMER_ABSTIME       = 1
	TFD_TIMER_CANCEL_ON_SET = 2
)

// Operations and flags of epoll(7) (include/uapi/linux/eventpoll.h). The
// conditions themselves are package wait's.
const (
	EPOLL_CLOEXEC = O_CLOEXEC

	EPOLL_CTL_ADD = 1
	EPOLL_CTL_DEL = 2
	EPOLL_CTL_MOD = 3

	EPOLLEXCLUSIVE = 1 << 28
	EPOLLWAKEUP    = 1 << 29
	EPOLLONESHOT   = 1 << 30
	EPOLLET        = 1 << 31
)

// Events that only poll(2) knows, or that repeat others for ordinary data
// (include/uapi/asm-generic/poll.h).
const (
	POLLNVAL   = 0x20
	POLLRDNORM = 0x40
	POLLRDBAND = 0x80
	POLLWRNORM = 0x100
	POLLWRBAND = 0x200
	POLLMSG    = 0x400
)

// PollFd is struct pollfd (poll(2)).
type PollFd struct {
	Fd      int32
	Events  int16
	Revents int16
}

// Itimerspec is struct itimerspec (timerfd_settime(2)).
type Itimerspec struct {
	Interval Timespec
	Value    Timespec
}

// Fcntl commands for the size of a pipe (fcntl(2)).
const (
	F_SETPIPE_SZ = 1031
	F_GETPIPE_SZ = 1032
)

// PIPE_BUF is the size in bytes up to which a write to a pipe is atomic.
const PIPE_BUF = 4096
