package wire

import (
	"bufio"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// echo is a server that sends every line back.
func echo(t *testing.T) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	p, err := Listen(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

// ask sends a line and returns what comes back within the time.
func (c *client) ask(line string, within time.Duration) (string, error) {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte(line + "\n")); err != nil {
		return "", err
	}
	return c.r.ReadString('\n')
}

func (c *client) answers(line string) {
	c.t.Helper()
	if got, err := c.ask(line, 5*time.Second); err != nil || got != line+"\n" {
		c.t.Fatalf("got %q, %v", got, err)
	}
}

func (c *client) fails(line string, want error) {
	c.t.Helper()
	got, err := c.ask(line, 5*time.Second)
	if !errors.Is(err, want) {
		c.t.Fatalf("got %q, %v, want %v", got, err, want)
	}
}

func (c *client) silence(line string) {
	c.t.Helper()
	got, err := c.ask(line, 100*time.Millisecond)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		c.t.Fatalf("got %q, %v, want nothing", got, err)
	}
}

func TestPassCutReset(t *testing.T) {
	p := echo(t)
	a := dial(t, p)
	a.answers("one")
	p.Cut()
	a.fails("two", io.EOF)
	b := dial(t, p)
	b.answers("three")
	p.Reset()
	if _, err := b.r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
	p.Refuse(true)
	c := dial(t, p)
	if _, err := c.r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
	p.Refuse(false)
	dial(t, p).answers("four")
}

func TestDelayAndHole(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	c.answers("one")
	p.Delay(100 * time.Millisecond)
	start := time.Now()
	c.answers("two")
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	p.Delay(0)
	p.Hole()
	c.silence("three")
	d := dial(t, p)
	d.silence("four")
	p.Lift()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if got, err := c.r.ReadString('\n'); err != nil || got != "three\n" {
		t.Errorf("what stood still: got %q, %v", got, err)
	}
}

func TestTraps(t *testing.T) {
	p := echo(t)
	other := dial(t, p)
	for _, after := range []bool{false, true} {
		c := dial(t, p)
		trap := p.Trap("BOO", Cut, after)
		c.answers("fine")
		c.fails("a boo", io.EOF)
		<-trap.Sprung()
		c = dial(t, p)
		p.Trap("boo", Reset, after)
		c.fails("boo", syscall.ECONNRESET)
		c = dial(t, p)
		p.Trap("boo", Hole, after)
		c.silence("boo")
		c.silence("more")
		other.answers("boo") // once only, and only there
	}
	if n := p.Connections(); n == 0 {
		t.Error("no connections")
	}
	p.Close()
	if n := p.Connections(); n != 0 {
		t.Errorf("%d connections after Close", n)
	}
}
