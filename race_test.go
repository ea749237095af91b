//go:build race

package vault_test

// raceEnabled says that the race detector is on: sizes and times mean nothing.
const raceEnabled = true
