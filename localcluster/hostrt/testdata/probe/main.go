// Command probe is all that a test's image holds: static, and it tells what a
// container of the image looks like from inside.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want a verb")
	}
	switch verb, rest := args[0], args[1:]; verb {
	case "args":
		fmt.Println(strings.Join(args, " "))
	case "env":
		for _, name := range rest {
			fmt.Printf("%s=%s\n", name, os.Getenv(name))
		}
	case "who":
		groups, err := os.Getgroups()
		if err != nil {
			return err
		}
		dir, err := os.Getwd()
		fmt.Println(os.Getuid(), os.Getgid(), groups, dir)
		return err
	case "cat":
		raw, err := os.ReadFile(rest[0])
		os.Stdout.Write(raw)
		return err
	case "stat":
		for _, path := range rest {
			var st syscall.Stat_t
			if err := syscall.Lstat(path, &st); err != nil {
				fmt.Println(path, err)
				continue
			}
			fmt.Printf("%s %o %d %d\n", path, st.Mode, st.Uid, st.Gid)
		}
	case "ls":
		found, err := filepath.Glob(rest[0])
		fmt.Println(strings.Join(found, " "))
		return err
	case "write":
		return os.WriteFile(rest[0], []byte(rest[1]), 0o644)
	case "signal":
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("ready")
		fmt.Println(<-got)
	case "sleep":
		time.Sleep(time.Minute)
	default:
		return fmt.Errorf("unknown verb %q", verb)
	}
	return nil
}
