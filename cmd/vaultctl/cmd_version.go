package main

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: "  vaultctl version --json"}
	return a.command(c, func(context.Context, []string) error {
		version, goVersion := "unknown", "unknown"
		if info, ok := debug.ReadBuildInfo(); ok {
			version, goVersion = info.Main.Version, info.GoVersion
		}
		return a.print(map[string]any{"version": version, "go": goVersion}, fmt.Sprintf("vaultctl %s, %s", version, goVersion))
	})
}
