package manytest

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// processes is how many there are at a time.
const processes = 8

// crew is the processes on one database.
type crew struct {
	t       *testing.T
	e       engine
	db      database
	dir     string
	seed    uint64
	rand    *rand.Rand
	timeout time.Duration
	journal *journal
	heard   *follower
	members [processes]*member
}

// member is one process.
type member struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr string // a file
	life   int
}

// seedOf returns the seed of a test, and prints it.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("VAULT_TEST_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	t.Logf("VAULT_TEST_SEED=%d", seed)
	return seed
}

// lasting is how long something goes on: d, unless it is to be shorter or longer
// in this run.
func lasting(d time.Duration) time.Duration {
	if s, err := strconv.ParseFloat(os.Getenv("VAULT_TEST_MANY"), 64); err == nil {
		return time.Duration(float64(d) * s)
	}
	if testing.Short() {
		return d / 3
	}
	return d
}

// newCrew starts processes on a new database, and lets them begin at the same
// moment.
func newCrew(t *testing.T, e engine, timeout time.Duration) *crew {
	t.Helper()
	return newCrewOn(t, e, e.database(t), timeout)
}

func newCrewOn(t *testing.T, e engine, db database, timeout time.Duration) *crew {
	t.Helper()
	c := &crew{t: t, e: e, db: db, dir: t.TempDir(), seed: seedOf(t), timeout: timeout}
	c.rand = rand.New(rand.NewPCG(c.seed, 0))
	var err error
	path := filepath.Join(c.dir, "journal")
	c.journal, err = openJournal(path)
	must(t, err)
	c.heard, err = follow(path)
	must(t, err)
	t.Cleanup(func() {
		for _, m := range c.members {
			if m != nil {
				_ = m.cmd.Process.Kill()
				_ = m.cmd.Wait() // an error if it has been waited for: all the same
			}
		}
		_ = c.journal.f.Close()
		_ = c.heard.f.Close()
	})
	for i := range c.members {
		c.launch(i, 0)
	}
	c.until("all processes are ready", 60*time.Second, func(all []entry) bool {
		n := 0
		for _, e := range all {
			if e.What == saysReady {
				n++
			}
		}
		return n == processes
	})
	for i := range c.members {
		c.begin(i)
	}
	return c
}

// launch starts a process for the slot.
func (c *crew) launch(slot, life int) {
	c.t.Helper()
	j, err := json.Marshal(job{
		Engine: c.e.name, Target: c.db.target, Dir: c.dir, Slot: slot, Life: life,
		Seed: c.seed, Workers: 3, Rotates: slot == 0, Timeout: c.timeout,
	})
	must(c.t, err)
	m := &member{cmd: exec.Command(os.Args[0]), life: life}
	m.stderr = filepath.Join(c.dir, fmt.Sprintf("stderr-%d-%d", slot, life))
	m.cmd.Env = append(os.Environ(), childEnv+"="+string(j))
	stderr, err := os.Create(m.stderr)
	must(c.t, err)
	defer func() { _ = stderr.Close() }()
	m.cmd.Stderr = stderr
	m.stdin, err = m.cmd.StdinPipe()
	must(c.t, err)
	must(c.t, m.cmd.Start())
	c.members[slot] = m
}

// said is what a process wrote before it ended badly.
func (m *member) said() string {
	b, err := os.ReadFile(m.stderr)
	return string(b) + errText(err)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (c *crew) begin(slot int) {
	c.t.Helper()
	if _, err := io.WriteString(c.members[slot].stdin, "go\n"); err != nil {
		c.t.Fatalf("process %d: %v: %s", slot, err, c.members[slot].said())
	}
}

// kill kills the process of a slot (-9), and starts another.
func (c *crew) kill(slot int) {
	c.t.Helper()
	m := c.members[slot]
	must(c.t, m.cmd.Process.Kill())
	_ = m.cmd.Wait() // killed
	must(c.t, c.journal.say(entry{What: saysKilled, Slot: slot, Life: m.life}))
	c.launch(slot, m.life+1)
	c.begin(slot)
}

// mark says something about the whole.
func (c *crew) mark(what string) {
	c.t.Helper()
	must(c.t, c.journal.say(entry{What: what}))
}

// until waits for something to be in the journal.
func (c *crew) until(what string, within time.Duration, ok func([]entry) bool) {
	c.t.Helper()
	got, err := c.heard.until(within, ok)
	must(c.t, err)
	if got {
		return
	}
	for i, m := range c.members {
		if m != nil && m.said() != "" {
			c.t.Logf("process %d: %s", i, m.said())
		}
	}
	all := c.heard.all
	c.t.Fatalf("it took more than %v until %s; the last that was heard: %v", within, what, all[max(0, len(all)-10):])
}

// someOfAll waits until every kind of operation was done: a test in which nothing
// happened tests nothing.
func (c *crew) someOfAll() {
	c.t.Helper()
	c.until("there was something of everything", time.Minute, func(all []entry) bool {
		done := map[string]bool{}
		for _, e := range all {
			done[e.Op] = done[e.Op] || e.What == saysEnd && e.Class == ""
		}
		for _, op := range []string{opPrepare, opPut, opGet, opDescribe, opDelete, opEncrypt, opDecrypt, opRotate, opList} {
			if !done[op] {
				return false
			}
		}
		return true
	})
}

// progress waits until every process has written n objects more.
func (c *crew) progress(what string, n int) {
	c.t.Helper()
	must(c.t, c.heard.read())
	from := len(c.heard.all)
	c.until("all processes write "+what, 30*time.Second, func(all []entry) bool {
		var puts [processes]int
		for _, e := range all[from:] {
			if e.What == saysEnd && e.Op == opPut && e.Class == "" {
				puts[e.Slot]++
			}
		}
		for _, got := range puts {
			if got < n {
				return false
			}
		}
		return true
	})
}

// stop ends the processes: each ends what it is at.
func (c *crew) stop() {
	c.t.Helper()
	for _, m := range c.members {
		must(c.t, m.stdin.Close())
	}
	for i, m := range c.members {
		ended := make(chan error, 1)
		go func() { ended <- m.cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				c.t.Errorf("process %d: %v: %s", i, err, m.said())
			}
		case <-time.After(c.timeout + 30*time.Second):
			c.t.Fatalf("process %d doesn't end", i)
		}
		c.members[i] = nil
	}
	must(c.t, c.heard.read())
}
