package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
)

// maxInspect is how much is read of an envelope.
const maxInspect = 256 << 20

type inspection struct {
	Version       int      `json:"version"`
	Kind          string   `json:"kind"`
	SelfContained bool     `json:"self_contained"`
	KeyID         string   `json:"key_id"`
	Size          int      `json:"size"`
	PlaintextSize int      `json:"plaintext_size"`
	KeyVersion    uint32   `json:"key_version,omitempty"`
	Quorum        string   `json:"quorum,omitempty"`
	KEKs          []string `json:"keks,omitempty"`
}

func (a *app) inspectCommand() *cobra.Command {
	var encoding string
	c := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "Say what an envelope is; no key and no store is needed",
		Long: `Says of an envelope in FILE, or on stdin: its kind, the ID of its key, sizes and, if it
carries its own wrapped key, the KEKs' URIs. Nothing of that is authenticated. The
text form (vlt1.…) is recognised. --encoding hex or base64 reads what a database's
shell prints.`,
		Example: "  vaultctl inspect envelope.bin\n  psql -Atc \"SELECT encode(secret, 'hex') FROM users LIMIT 1\" | vaultctl inspect --encoding hex",
		Args:    cobra.MaximumNArgs(1),
	}
	c.Flags().StringVar(&encoding, "encoding", "raw", "how the bytes are written: raw, hex or base64")
	return a.command(c, func(_ context.Context, args []string) error {
		data, err := a.readEnvelope(args, encoding)
		if err != nil {
			return err
		}
		info, err := vault.Inspect(data)
		if err != nil {
			return err
		}
		return a.printInspection(info)
	})
}

func (a *app) readEnvelope(args []string, encoding string) ([]byte, error) {
	in := a.in
	if len(args) > 0 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxInspect+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxInspect:
		return nil, fmt.Errorf("more than %d MiB: give the beginning of it", maxInspect>>20)
	}
	text := strings.TrimPrefix(strings.TrimSpace(string(data)), `\x`) // PostgreSQL's bytea
	switch encoding {
	case "raw":
		if bytes.HasPrefix(data, []byte(envelope.TextPrefix)) {
			return []byte(strings.TrimSpace(string(data))), nil
		}
		return data, nil
	case "hex":
		if data, err = hex.DecodeString(text); err != nil {
			return nil, errors.New("what was read is not hexadecimal")
		}
		return data, nil
	case "base64":
		if data, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, errors.New("what was read is not base64")
		}
		return data, nil
	}
	return nil, usage("--encoding is raw, hex or base64")
}

func (a *app) printInspection(i vault.Info) error {
	out := inspection{
		Version: i.Version, Kind: i.Kind.String(), SelfContained: i.Kind.SelfContained(), KeyID: i.KeyID.String(),
		Size: i.Size, PlaintextSize: i.PlaintextSize, KeyVersion: i.KeyVersion, KEKs: i.KEKs,
	}
	text := fmt.Sprintf("kind       %s\nkey        %s\nsize       %d bytes, of a plaintext of %d", i.Kind, i.KeyID, i.Size, i.PlaintextSize)
	if out.SelfContained {
		out.Quorum = i.Quorum.String()
		text += fmt.Sprintf("\nversion    %d of its key\nwrapped    %s of %s", i.KeyVersion, i.Quorum, strings.Join(i.KEKs, ", "))
	}
	return a.print(out, text)
}
