package azurekv_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What this package does, in a process where nothing but the algorithms of the
// FIPS 140-3 module may be used.
func TestUnderFIPS140Only(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), must(os.Executable())(t), "-test.count=1", "-test.v", "-test.run=^(TestVectors|TestFormatsStayReadable|TestTypeChanges)$")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, test := range []string{"TestVectors", "TestFormatsStayReadable", "TestTypeChanges"} {
		if !strings.Contains(string(out), "--- PASS: "+test+" ") {
			t.Errorf("%s did not run", test)
		}
	}
}
