package keyring

import "time"

// clock tells instants on two clocks at once.
type clock struct{ base time.Time }

func newClock() clock { return clock{base: time.Now()} }

// instant is a moment on the monotonic and on the wall clock, in nanoseconds.
// Both count, whichever says that more time has passed: the monotonic one
// stands still while a machine sleeps or a snapshot of it waits to be restored,
// and the wall clock can be set back.
type instant struct{ mono, wall int64 }

func (c clock) now() instant {
	t := time.Now()
	return instant{mono: int64(t.Sub(c.base)), wall: t.UnixNano()}
}

// since returns how much time has passed from then to i, never less than 0.
func (i instant) since(then instant) time.Duration {
	return time.Duration(max(i.mono-then.mono, i.wall-then.wall, 0))
}
