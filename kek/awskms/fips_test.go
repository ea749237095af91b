package awskms_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What this package can do, in a process where nothing but the algorithms of the
// FIPS 140-3 module may be used: the driver, the SDK and the fake.
func TestUnderFIPS140Only(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), must(os.Executable())(t), "-test.count=1", "-test.v",
		"-test.run=^(TestFormatsStayReadable|TestMultiRegionKey|TestRecreatedKey|TestStatus|TestOwnersChanges|TestVectors|Example)")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%.4000s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestFormatsStayReadable") {
		t.Fatal("it ran no tests")
	}
}
