//go:build race

package envelope_test

// raceDetector: sync.Pool drops some of what it is given then, so that
// allocations can't be counted.
const raceDetector = true
