package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/atlogin"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/settings"
)

// laptop are the choices of `up` that are remembered: whether it starts at
// log-in, and whether the machine stays awake while jobs run.
type laptop struct{ atLogin, inhibit string }

func (l *laptop) flags(cmd *cobra.Command) {
	for _, f := range []struct {
		value       *string
		name, usage string
	}{
		{&l.atLogin, "at-login", "start at each log-in, by a unit of systemd: on or off"},
		{&l.inhibit, "inhibit-sleep", "keep the machine awake while jobs run: on or off (default on; remembered)"},
	} {
		cmd.Flags().StringVar(f.value, f.name, "", f.usage)
		_ = cmd.RegisterFlagCompletionFunc(f.name, cobra.FixedCompletions([]string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.Flags().Lookup("at-login").NoOptDefVal = "on"
	cmd.Flags().Lookup("inhibit-sleep").NoOptDefVal = "on"
}

// check refuses what cannot be done before anything is started.
func (l *laptop) check() error {
	for name, value := range map[string]string{"at-login": l.atLogin, "inhibit-sleep": l.inhibit} {
		if value != "" && value != "on" && value != "off" {
			return fail(fmt.Errorf("--%s=%s: want on or off", name, value), "studio up --"+name+"=on")
		}
	}
	if l.atLogin == "on" && !atlogin.Available() {
		return noSystemd()
	}
	return nil
}

func noSystemd() error {
	return fail(fmt.Errorf("starting at log-in: %w", atlogin.ErrNoSystemd), "put `studio up` where your desktop starts programs, or into ~/.profile")
}

func (l *laptop) apply(ctx context.Context, a *app, dir datadir.Dir) error {
	if l.inhibit != "" {
		if err := settings.Change(dir, func(s *settings.Settings) { s.LetSleep = l.inhibit == "off" }); err != nil {
			return err
		}
	}
	switch l.atLogin {
	case "on":
		return l.enable(ctx, a, dir)
	case "off":
		if err := atlogin.Off(ctx); err != nil {
			return err
		}
		a.note("Studio does not start at log-in.")
		return settings.Change(dir, func(s *settings.Settings) { s.AskedAtLogin = true })
	}
	return nil
}

func (l *laptop) enable(ctx context.Context, a *app, dir datadir.Dir) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("starting at log-in: %w", err)
	}
	path, err := atlogin.On(ctx, self, dir)
	if errors.Is(err, atlogin.ErrNoSystemd) {
		return noSystemd()
	}
	if err != nil {
		return fmt.Errorf("starting at log-in: %w", err)
	}
	a.note("Studio starts at each log-in (%s); `studio up --at-login=off` ends that.", path)
	return settings.Change(dir, func(s *settings.Settings) { s.AskedAtLogin = true })
}

// ask asks a person, once, whether to start at log-in, where that can be had.
func (l *laptop) ask(ctx context.Context, a *app, dir datadir.Dir) error {
	if l.atLogin != "" || !a.asks() || !atlogin.Available() {
		return nil
	}
	own, err := settings.Load(dir)
	if err != nil || own.AskedAtLogin {
		return err
	}
	if a.confirm("Start Studio at each log-in? [y/N] ") {
		return l.enable(ctx, a, dir)
	}
	return settings.Change(dir, func(s *settings.Settings) { s.AskedAtLogin = true })
}
