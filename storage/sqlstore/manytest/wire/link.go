package wire

import (
	"net"
	"sync"
	"time"
)

// link is one connection, with the one to the server that it is forwarded to.
type link struct {
	client, server *net.TCPConn
	once           sync.Once
	ended          chan struct{}

	mu    sync.Mutex // guards what follows
	trap  *Trap      // springs at the server's next answer
	holed bool
}

// cut closes both sides. A side that holds unread data is reset by the system.
func (l *link) cut() {
	l.once.Do(func() {
		close(l.ended)
		_ = l.client.Close()
		if l.server != nil {
			_ = l.server.Close()
		}
	})
}

func (l *link) reset() {
	_ = l.client.SetLinger(0)
	if l.server != nil {
		_ = l.server.SetLinger(0)
	}
	l.cut()
}

// pump forwards one way, until that way ends.
func (p *Proxy) pump(l *link, from, to *net.TCPConn, client bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !p.pass(l, buf[:n], to, client) {
			return
		}
		if err != nil {
			// The other way may have something to say yet; and an end travels as
			// slowly as data does.
			p.wait(l)
			if to.CloseWrite() != nil || !client {
				l.cut()
			}
			return
		}
	}
}

// pass forwards a piece of data, as the weather allows. It reports whether the
// link goes on.
func (p *Proxy) pass(l *link, data []byte, to *net.TCPConn, client bool) bool {
	if client {
		if t := p.takeTrap(data); t != nil {
			if t.after {
				l.mu.Lock()
				l.trap = t
				l.mu.Unlock()
			} else {
				l.spring(t)
			}
		}
	} else {
		l.mu.Lock()
		t := l.trap
		l.trap = nil
		l.mu.Unlock()
		if t != nil {
			l.spring(t)
		}
	}
	l.mu.Lock()
	holed := l.holed
	l.mu.Unlock()
	if holed {
		return true // read, and gone
	}
	if !p.wait(l) {
		return false
	}
	_, err := to.Write(data)
	return err == nil
}

// wait waits as long as data has to now. It reports whether the link is still
// there.
func (p *Proxy) wait(l *link) bool {
	for {
		delay, lifted := p.weather()
		if delay > 0 {
			select {
			case <-time.After(delay):
			case <-l.ended:
				return false
			}
		}
		if lifted == nil {
			break
		}
		select {
		case <-lifted:
		case <-l.ended:
			return false
		}
	}
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

func (l *link) spring(t *Trap) {
	switch t.fault {
	case Cut:
		l.cut()
	case Reset:
		l.reset()
	case Hole:
		l.mu.Lock()
		l.holed = true
		l.mu.Unlock()
	}
	close(t.sprung)
}
