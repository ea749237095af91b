// Package wire is a TCP proxy that behaves like a bad network, for tests.
package wire

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"
)

// Proxy forwards connections to one address until it is told to do them harm.
// It is safe for concurrent use.
type Proxy struct {
	target string
	l      net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	links   map[*link]bool
	delay   time.Duration
	refuse  bool
	lifted  chan struct{} // not nil: all stands still until it is closed
	traps   []*Trap
	stopped chan struct{} // closed by Close
}

// Listen starts a proxy to target, on a free port of the loopback interface.
func Listen(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, l: l, links: map[*link]bool{}, stopped: make(chan struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() *net.TCPAddr { return p.l.Addr().(*net.TCPAddr) }

// Close ends the proxy and all its connections, and returns when nothing of it
// runs any more.
func (p *Proxy) Close() {
	p.mu.Lock()
	select {
	case <-p.stopped:
	default:
		close(p.stopped)
	}
	p.mu.Unlock()
	_ = p.l.Close()
	p.Reset()
	p.wg.Wait()
}

// Cut ends all connections properly, with whatever is on its way lost. New ones
// are taken.
func (p *Proxy) Cut() { p.each((*link).cut) }

// Reset ends all connections by a TCP reset. New ones are taken.
func (p *Proxy) Reset() { p.each((*link).reset) }

// Delay makes every piece of data take d longer, both ways; 0 ends that.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Refuse makes the proxy reset new connections, or take them again.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// Hole lets nothing through, on connections old and new, and tells nobody.
func (p *Proxy) Hole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lifted == nil {
		p.lifted = make(chan struct{})
	}
}

// Lift ends Hole. What stood still arrives, late, as after a network's outage;
// call Reset before if it shouldn't.
func (p *Proxy) Lift() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lifted != nil {
		close(p.lifted)
		p.lifted = nil
	}
}

// Fault is what a [Trap] does to its connection.
type Fault uint8

// The faults.
const (
	Cut   Fault = iota // end it properly
	Reset              // reset it
	Hole               // let nothing through any more, and tell nobody
)

// Trap is armed for one request.
type Trap struct {
	pattern []byte
	fault   Fault
	after   bool
	sprung  chan struct{}
}

// Sprung is closed when the trap has done its work.
func (t *Trap) Sprung() <-chan struct{} { return t.sprung }

// Trap waits for a client to send pattern, in letters of either case and in one
// piece, and then does harm to that connection: before the server sees it, or
// after, when the server has begun to answer and the answer is lost.
func (p *Proxy) Trap(pattern string, fault Fault, after bool) *Trap {
	t := &Trap{pattern: bytes.ToLower([]byte(pattern)), fault: fault, after: after, sprung: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, t)
	return t
}

// Connections is how many there are.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

func (p *Proxy) each(f func(*link)) {
	p.mu.Lock()
	var all []*link
	for l := range p.links {
		all = append(all, l)
	}
	p.mu.Unlock()
	for _, l := range all {
		f(l)
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.wg.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

func (p *Proxy) serve(c *net.TCPConn) {
	l := &link{client: c, ended: make(chan struct{})}
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse {
		l.reset()
		return
	}
	s, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		l.reset()
		return
	}
	l.server = s.(*net.TCPConn)
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	}()
	select {
	case <-p.stopped: // Close may have missed it
		l.reset()
	default:
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, l.client, l.server, true) })
	both.Go(func() { p.pump(l, l.server, l.client, false) })
	both.Wait()
}

// takeTrap returns the trap that the client's data springs, if any.
func (p *Proxy) takeTrap(data []byte) *Trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.traps) == 0 {
		return nil
	}
	data = bytes.ToLower(data)
	for i, t := range p.traps {
		if bytes.Contains(data, t.pattern) {
			p.traps = append(p.traps[:i:i], p.traps[i+1:]...)
			return t
		}
	}
	return nil
}

// weather is what data has to go through now.
func (p *Proxy) weather() (delay time.Duration, lifted <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay, p.lifted
}
