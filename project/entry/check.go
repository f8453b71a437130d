package entry

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/mlstudio/studio/project/problem"
)

//go:embed check.py
var checker string

// place is a line of the file, or of a cell where it is a notebook.
type place struct {
	Cell   int `json:"cell"`
	Line   int `json:"line"`
	Column int `json:"column"`
}

type absent struct {
	place
	Module string `json:"module"`
}

type function struct {
	Accepts  []string `json:"accepts"`
	Required []string `json:"required"`
	Any      bool     `json:"any"`
	Line     int      `json:"line"`
}

type findings struct {
	Missing   []absent            `json:"missing"`
	Functions map[string]function `json:"functions"`
	// Parameters are the names that a notebook's parameters cell sets; nil without one.
	Parameters []string `json:"parameters"`
	Syntax     *struct {
		place
		Message string `json:"message"`
	} `json:"syntax"`
}

// Check looks at the code without running it, in the interpreter that will run
// it: its syntax, the modules that it imports at its top, and whether a function
// is there and takes the parameters. The error is a problem.List.
func (e Entry) Check(ctx context.Context, python string, params []Param) error {
	if e.Kind == Shell {
		return nil
	}
	cmd := exec.CommandContext(ctx, python, "-I", "-c", checker, e.Path, e.Func)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("looking at %s with %s: %w: %s", e.Path, python, err, strings.TrimSpace(errs.String()))
	}
	f := new(findings)
	if err := json.Unmarshal(out.Bytes(), f); err != nil {
		return fmt.Errorf("looking at %s with %s: its answer can not be read: %w", e.Path, python, err)
	}
	return e.judge(f, python, params).Err()
}

func (e Entry) judge(f *findings, python string, params []Param) problem.List {
	if s := f.Syntax; s != nil {
		return problem.List{e.at(s.place, s.Message, "")}
	}
	var wrong problem.List
	for _, m := range f.Missing {
		wrong = append(wrong, e.at(m.place, fmt.Sprintf("it imports %s, which %s does not have", m.Module, python),
			fmt.Sprintf("add %s to the requirements, or install it: %s -m pip install %s", m.Module, python, m.Module)))
	}
	switch {
	case e.Kind == Function:
		wrong = append(wrong, e.judgeFunction(f.Functions, params)...)
	case e.Kind == Notebook && len(params) > 0 && f.Parameters == nil:
		wrong = append(wrong, problem.Problem{File: e.Path, Message: "no cell is tagged `parameters`, so nothing would take --param " + params[0].Name,
			Cure: "tag the cell that sets the defaults"})
	case e.Kind == Notebook:
		for _, p := range params {
			if !slices.Contains(f.Parameters, p.Name) {
				wrong = append(wrong, problem.Problem{File: e.Path, Message: fmt.Sprintf("its parameters cell does not set %s", p.Name), Cure: known(p.Name, f.Parameters)})
			}
		}
	}
	return wrong
}

func (e Entry) judgeFunction(all map[string]function, params []Param) problem.List {
	fn, ok := all[e.Func]
	if !ok {
		var names []string
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		return problem.List{{File: e.Path, Message: fmt.Sprintf("it has no function %s at its top", e.Func), Cure: known(e.Func, names)}}
	}
	var wrong problem.List
	at := place{Line: fn.Line}
	for _, p := range params {
		if !fn.Any && !slices.Contains(fn.Accepts, p.Name) {
			wrong = append(wrong, e.at(at, fmt.Sprintf("%s takes no %s", e.Func, p.Name), known(p.Name, fn.Accepts)))
		}
	}
	for _, name := range fn.Required {
		if !slices.ContainsFunc(params, func(p Param) bool { return p.Name == name }) {
			wrong = append(wrong, e.at(at, fmt.Sprintf("%s needs %s", e.Func, name), fmt.Sprintf("give it: --param %s=VALUE", name)))
		}
	}
	return wrong
}

func (e Entry) at(p place, message, cure string) problem.Problem {
	w := problem.Problem{File: e.Path, Line: p.Line, Column: p.Column, Message: message, Cure: cure}
	if p.Cell > 0 { // the file's own lines are JSON
		w.File, w.Line, w.Column = fmt.Sprintf("%s, cell %d, line %d", e.Path, p.Cell, p.Line), 0, 0
	}
	return w
}

func known(word string, names []string) string {
	if near := problem.Nearest(word, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if len(names) == 0 {
		return ""
	}
	return "known here: " + strings.Join(names, ", ")
}
