package main

import (
	"strconv"
	"strings"
	"time"
)

// age is a duration in a flag, which also takes days: 30d.
type age time.Duration

// Set implements pflag.Value.
func (d *age) Set(s string) error {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return usage("want a duration such as 30d, 12h or 10m")
		}
		*d = age(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return usage("want a duration such as 30d, 12h or 10m")
	}
	*d = age(v)
	return nil
}

func (d *age) String() string { return time.Duration(*d).String() }

// Type implements pflag.Value: what the help calls it.
func (d *age) Type() string { return "duration" }
