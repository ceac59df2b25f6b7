package sys

import (
	"sync"
	"sync/atomic"
)

// The table has two parts, so that an image holds only what its program can
// reach. The calls that package syscall's own functions make on behalf of os,
// time and their like are registered when the program starts. All others need a
// program that makes sockets, maps memory or names system calls itself; the
// functions of package syscall by which it does that call Everything first, and
// without them the linker leaves all of this out.

var everything struct {
	once sync.Once
	done atomic.Bool
}

// Everything completes the table.
func Everything() {
	if !everything.done.Load() {
		everything.once.Do(registerEverything)
	}
}

func registerEverything() {
	registerSockets()
	registerMessages()
	registerEpoll()
	registerEvents()
	registerInotify()
	registerPoll()
	registerXattr()
	registerFutex()
	registerMappings()
	registerScheduling()
	registerClocks()
	registerSignals()
	registerProcess()
	registerIdentities()
	registerVectors()
	registerMoreStats()
	registerMoreOpens()
	registerMoreNames()
	registerMoreDescriptors()
	registerMoreAttributes()
	everything.done.Store(true)
}
