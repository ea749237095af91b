package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

// lineEvery is how often a line tells of progress where there is no terminal.
const lineEvery = 5 * time.Second

// meter shows how far long work has come: a bar on a terminal, plain lines elsewhere,
// nothing with --quiet. The zero meter shows nothing. It is for one goroutine.
type meter struct {
	a     *app
	what  string
	total int64

	bar         *progressbar.ProgressBar
	begin, last time.Time
	base        int64 // what was done before, where work goes on
	begun       bool
}

// meter begins to show progress. count says how much there is to do; it isn't called
// if nothing is shown.
func (a *app) meter(what string, count func() (int64, error)) (*meter, error) {
	if a.flags.quiet {
		return &meter{}, nil
	}
	total, err := count()
	if err != nil || total == 0 {
		return &meter{}, err
	}
	m := &meter{a: a, what: what, total: total}
	m.begin = a.now()
	m.last = m.begin
	if a.bar && !a.flags.json {
		m.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(a.errOut),
			progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionFullWidth(),
			progressbar.OptionUseANSICodes(true),
		)
	}
	return m, nil
}

// set says how much is done.
func (m *meter) set(done int64) {
	switch {
	case m.a == nil:
		return
	case m.bar != nil:
		if m.total = max(m.total, done); m.total > m.bar.GetMax64() {
			m.bar.ChangeMax64(m.total) // more came meanwhile
		}
		_ = m.bar.Set64(done) // a terminal that is gone is no reason to stop
		return
	}
	now := m.a.now()
	if !m.begun {
		m.begun, m.base, m.begin = true, done, now
	}
	if now.Sub(m.last) < lineEvery {
		return
	}
	m.last = now
	m.line(done, now)
}

// line writes a line of progress. The rate is that of this run.
func (m *meter) line(done int64, now time.Time) {
	rate := float64(done-m.base) / max(now.Sub(m.begin).Seconds(), 0.001)
	left := time.Duration(0)
	if rate > 0 && m.total > done {
		left = time.Duration(float64(m.total-done) / rate * float64(time.Second)).Round(time.Second)
	}
	if m.a.flags.json {
		line, _ := json.Marshal(map[string]any{"progress": map[string]any{
			"what": m.what, "done": done, "total": m.total, "per_second": rate, "seconds_left": left.Seconds(),
		}})
		fmt.Fprintln(m.a.errOut, string(line))
		return
	}
	fmt.Fprintf(m.a.errOut, "%s: %d of %d, %.0f/s, %v left\n", m.what, done, max(m.total, done), rate, left)
}

// end leaves the terminal on a line of its own.
func (m *meter) end() {
	if m.bar != nil {
		_ = m.bar.Exit()
		fmt.Fprintln(m.a.errOut)
	}
}
