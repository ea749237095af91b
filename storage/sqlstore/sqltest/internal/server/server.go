// Package server runs a database server's program for tests: as the user that
// it wants, on a free port, in a directory of its own.
package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Process is a server's program while it runs.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	log  syncBuffer
}

// As makes a command run as this user, if the test is root: both servers refuse
// root.
func As(name string, program string, args ...string) *exec.Cmd {
	if os.Getuid() != 0 {
		return exec.Command(program, args...)
	}
	run := append([]string{"--reuid=" + name, "--regid=" + name, "--init-groups", program}, args...)
	return exec.Command("setpriv", run...)
}

// Launch starts the program.
func Launch(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// Ready waits until ping succeeds. It fails if the program ends, or after a
// minute.
func (p *Process) Ready(ping func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it has ended: %s", p.log.tail())
		case <-ctx.Done():
			return fmt.Errorf("it isn't ready: %w: %s", err, p.log.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// End sends the signal and waits until the program has ended. After half a
// minute it is killed, and that is an error.
func (p *Process) End(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("it didn't stop: %s", p.log.tail())
	}
}

// Log returns what the program wrote.
func (p *Process) Log() string { return p.log.String() }

// FreePort returns a TCP port on the loopback interface that was free just now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Dir makes a directory that belongs to the user.
func Dir(name string) (string, error) {
	dir, err := os.MkdirTemp("", "vault-"+name+"-")
	if err != nil {
		return "", err
	}
	return dir, Own(dir, name)
}

// Own gives a directory and all in it to the user, if the test is root.
func Own(dir, name string) error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// Run runs a program to its end.
func Run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, out)
	}
	return nil
}

// Find looks a program up in the PATH and in some folders.
func Find(program string, folders ...string) (string, error) {
	for _, pattern := range folders {
		found, _ := filepath.Glob(filepath.Join(pattern, program))
		if len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return exec.LookPath(program)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) tail() string {
	t := s.String()
	return t[max(0, len(t)-2000):]
}
