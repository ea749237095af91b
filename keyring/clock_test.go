package keyring

import (
	"testing"
	"time"
)

// A process that was frozen can't extend a key's time: whichever clock says
// that more time has passed is believed.
func TestBothClocksCount(t *testing.T) {
	then := instant{mono: int64(time.Hour), wall: int64(1000 * time.Hour)}
	for _, tc := range []struct {
		name       string
		mono, wall time.Duration
		want       time.Duration
	}{
		{"both agree", time.Minute, time.Minute, time.Minute},
		{"asleep: the monotonic clock stood still", 0, time.Hour, time.Hour},
		{"the wall clock was set back", time.Minute, -time.Hour, time.Minute},
		{"both went back", -time.Minute, -time.Hour, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := instant{mono: then.mono + int64(tc.mono), wall: then.wall + int64(tc.wall)}
			if got := now.since(then); got != tc.want {
				t.Fatalf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestClockReadsBoth(t *testing.T) {
	c := newClock()
	a := c.now()
	if a.mono < 0 || time.Since(time.Unix(0, a.wall)) > time.Minute {
		t.Fatalf("%+v", a)
	}
	if b := c.now(); b.mono < a.mono {
		t.Fatal("the monotonic clock went back")
	}
}
