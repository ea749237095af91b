package memkek

import "time"

// counts is what was asked of a KEK. Calls are counted as they come, whether
// they then fail or not.
type counts struct {
	calls    [opCount]int
	inFlight int
	peak     int // of inFlight
}

// Wraps returns how many times Wrap was called.
func (k *KEK) Wraps() int { return k.countOf(opWrap) }

// Unwraps returns how many times Unwrap was called.
func (k *KEK) Unwraps() int { return k.countOf(opUnwrap) }

// Rewraps returns how many times Rewrap was called.
func (k *KEK) Rewraps() int { return k.countOf(opRewrap) }

// Calls returns how many calls there were of any kind, Check included: what a
// KMS would have charged for.
func (k *KEK) Calls() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, c := range k.calls {
		n += c
	}
	return n
}

// InFlight returns how many calls are under way.
func (k *KEK) InFlight() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.inFlight
}

// MaxConcurrent returns how many calls were under way at once, at most.
func (k *KEK) MaxConcurrent() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.peak
}

// ResetCounts sets all counters to zero, and MaxConcurrent to InFlight.
func (k *KEK) ResetCounts() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = [opCount]int{}
	k.peak = k.inFlight
}

func (k *KEK) countOf(o op) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls[o]
}

// count counts a call that comes, and says what is to become of it.
func (k *KEK) count(o op) (Fault, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls[o]++
	k.inFlight++
	k.peak = max(k.peak, k.inFlight)
	fault := k.faults[o]
	if k.nextCalls > 0 {
		k.nextCalls--
		fault = k.next
	}
	return fault, k.latency
}

func (k *KEK) leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.inFlight--
}
