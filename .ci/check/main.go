// Check reads what `go test -json` wrote:
//
//	check failures FILE               prints the output of what failed
//	check accidents ACCIDENTS.md FILE fails unless every test named there passed
//	check skips FILE                  fails if any test was skipped
//	check summary FILE                prints how many passed and failed
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
)

const module = "github.com/embedvault/vault"

type event struct {
	Action, Package, Test, Output string
}

// results maps "package.Test" to its last action.
type results struct {
	actions map[string]string
	output  map[string][]string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "failures":
		return failures(args[1])
	case len(args) == 3 && args[0] == "accidents":
		return accidents(args[1], args[2])
	case len(args) == 2 && args[0] == "skips":
		return skips(args[1])
	case len(args) == 2 && args[0] == "summary":
		return summary(args[1])
	}
	return fmt.Errorf("usage: check failures|skips|summary FILE, or check accidents ACCIDENTS.md FILE")
}

func read(path string) (results, error) {
	r := results{actions: map[string]string{}, output: map[string][]string{}}
	f, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			fmt.Println(sc.Text()) // a build error, in plain text
			continue
		}
		key := name(e.Package, e.Test)
		switch e.Action {
		case "output", "build-output":
			r.output[key] = append(r.output[key], e.Output)
		case "pass", "fail", "skip":
			r.actions[key] = e.Action
		}
	}
	return r, sc.Err()
}

// name is how docs/ACCIDENTS.md names a test: its package below the module's
// root, "vault" for the root itself, a dot, the test.
func name(pkg, test string) string {
	pkg = strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
	if pkg == "" {
		pkg = "vault"
	}
	if test == "" {
		return pkg
	}
	return pkg + "." + test
}

func failures(path string) error {
	r, err := read(path)
	if err != nil {
		return err
	}
	for _, key := range sortedKeys(r.output) {
		if r.actions[key] != "pass" && r.actions[key] != "skip" {
			fmt.Print(strings.Join(r.output[key], ""))
		}
	}
	return nil
}

var testName = regexp.MustCompile("`([a-z0-9/]+\\.(?:Test|Fuzz|Example)[^`]*)`")

func accidents(doc, path string) error {
	text, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	r, err := read(path)
	if err != nil {
		return err
	}
	rows, bad := 0, 0
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| accident") || strings.HasPrefix(line, "| ---") {
			continue
		}
		rows++
		tests := testName.FindAllStringSubmatch(line, -1)
		if len(tests) == 0 {
			fmt.Println("no test:", line)
			bad++
		}
		for _, t := range tests {
			if action := r.actions[t[1]]; action != "pass" {
				fmt.Printf("%s: %q, want pass: %s\n", t[1], action, line)
				bad++
			}
		}
	}
	if bad > 0 || rows == 0 {
		return fmt.Errorf("%d of %d accidents lack a test that ran and passed", bad, rows)
	}
	fmt.Printf("%d accidents, each with tests that passed\n", rows)
	return nil
}

// isTest tells tests from packages, which may have none.
func isTest(key string) bool {
	return strings.Contains(key, ".Test") || strings.Contains(key, ".Fuzz") || strings.Contains(key, ".Example")
}

// skips: a test that CI skips is a test that doesn't exist.
func skips(path string) error {
	r, err := read(path)
	if err != nil {
		return err
	}
	n := 0
	for key, action := range r.actions {
		if isTest(key) && action == "skip" {
			fmt.Println("skipped:", key)
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("%d tests were skipped; CI must provide what they need", n)
	}
	fmt.Println("no test was skipped")
	return nil
}

func summary(path string) error {
	r, err := read(path)
	if err != nil {
		return err
	}
	count := map[string]int{}
	for key, action := range r.actions {
		if isTest(key) {
			count[action]++
		}
	}
	fmt.Printf("%d passed, %d failed\n", count["pass"], count["fail"])
	return nil
}

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
