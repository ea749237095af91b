package keyring

import (
	"sync/atomic"
	"time"
)

// LatencyBounds returns how long the calls took at most that each of
// [KEKStats].Took counts but the last, which counts the others.
func LatencyBounds() [4]time.Duration {
	return [...]time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond, time.Second}
}

// latency is how long calls to one KEK took.
type latency struct {
	nanos   atomic.Int64 // in all
	slowest atomic.Int64
	took    [5]atomic.Uint64
}

// observe counts a call.
func (l *latency) observe(d time.Duration) {
	l.nanos.Add(int64(d))
	for was := l.slowest.Load(); int64(d) > was && !l.slowest.CompareAndSwap(was, int64(d)); was = l.slowest.Load() {
	}
	bucket := 0
	for _, bound := range LatencyBounds() {
		if d > bound {
			bucket++
		}
	}
	l.took[bucket].Add(1)
}

func (l *latency) tookUpTo() (counts [5]uint64) {
	for i := range counts {
		counts[i] = l.took[i].Load()
	}
	return counts
}
