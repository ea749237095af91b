package hashivault_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The driver, its server and the SDK, in a process where nothing but the
// algorithms of the FIPS 140-3 module may be used. (TestVectors is not among
// the tests: it seals with a given nonce, which isn't allowed there.)
func TestUnderFIPS140Only(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.count=1", "-test.v", "-test.run=^(TestConformance|TestBatchAllBad|Example)$/^(derived|plain|derived=.*)$")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestConformance/plain") {
		t.Fatal("it ran no tests")
	}
}
