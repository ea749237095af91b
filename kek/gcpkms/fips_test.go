package gcpkms_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What this package does, in a process where nothing but the algorithms of the FIPS
// 140-3 module may be used.
func TestUnderFIPS140Only(t *testing.T) {
	exe := must(os.Executable())(t)
	cmd := exec.CommandContext(t.Context(), exe, "-test.count=1", "-test.v", "-test.run=^(TestConformance$|TestCheck|TestVectors|Example)")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestConformance/round_trip") {
		t.Fatal("it ran no tests")
	}
}
