//go:build !race

package keyring_test

// raceEnabled says that the race detector is on: sizes and times mean nothing.
const raceEnabled = false
