package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/embedvault/vault/storage/boltstore"
)

// TestMain makes this test binary be vaultctl and the programs beside it, for scripts
// and for tests that drive a process.
func TestMain(m *testing.M) {
	// With the race detector each process would sleep for a second at its end.
	os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	testscript.Main(m, map[string]func(){
		"vaultctl": func() { os.Exit(mainCode()) },
		"app":      func() { os.Exit(appCode()) },
		"stubborn": func() { os.Exit(stubborn()) },
	})
}

// TestScripts runs testdata/script: the commands of docs/OPERATIONS.md, and every
// other command.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"hashivault": hashivaultCmd,
			"awskms":     awskmsCmd,
			"setid":      setIDCmd,
			"exits":      exitsCmd,
			"holds":      holdsCmd,
		},
	})
}

// setIDCmd sets $ID to the "id" of the JSON line on the last stdout.
func setIDCmd(ts *testscript.TestScript, neg bool, args []string) {
	_, rest, ok := strings.Cut(ts.ReadFile("stdout"), `"id":"`)
	if !ok || neg || len(args) > 0 {
		ts.Fatalf("setid: no id in the last output")
	}
	id, _, _ := strings.Cut(rest, `"`)
	ts.Setenv("ID", id)
}

// holdsCmd has a bbolt file open until the script ends.
func holdsCmd(ts *testscript.TestScript, neg bool, args []string) {
	s, err := boltstore.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { ts.Check(s.Close()) })
}

// exitsCmd runs vaultctl in this process and compares its exit code: exits 2 ARG…
func exitsCmd(ts *testscript.TestScript, neg bool, args []string) {
	var out, errOut strings.Builder
	a := newApp(strings.NewReader(""), &out, &errOut, ts.Getenv)
	code := a.run(context.Background(), inDir(ts, args[1:]))
	if got := string(rune('0' + code)); got != args[0] || neg {
		ts.Fatalf("vaultctl %v: exit code %s, want %s\n%s%s", args[1:], got, args[0], out.String(), errOut.String())
	}
}

// inDir makes the files of the script's directory absolute: this process is in another.
func inDir(ts *testscript.TestScript, args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		if out[i] = arg; strings.HasSuffix(arg, ".json") && !strings.HasPrefix(arg, "-") && !filepath.IsAbs(arg) {
			out[i] = ts.MkAbs(arg)
		}
	}
	return out
}

// stubborn is a command that doesn't heed its ctx.
func stubborn() int {
	ctx, stop := interruptible(context.Background(), os.Stderr)
	defer stop()
	os.Stdout.WriteString("ready\n")
	<-ctx.Done()
	os.Stdout.WriteString("interrupted\n")
	select {}
}
