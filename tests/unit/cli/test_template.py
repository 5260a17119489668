"""Go templates, by the examples of Docker's documentation and of text/template."""

from typing import Any

import pytest

from corten.cli.template import Template
from corten.cli.template_functions import TemplateError, quoted, unquote

CONTAINER: dict[str, Any] = {
    "Id": "abc",
    "Config": {"Image": "debian", "Labels": {"com.x": "1"}, "Cmd": ["sh", "-c", "x"], "Tty": False},
    "State": {"Status": "running", "Pid": 42, "Health": None},
    "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "443/tcp": None}},
    "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}, "a": {"IPAddress": "10.0.0.2"}}},
    "Mounts": [{"Source": "/a", "Destination": "/b"}, {"Source": "/c", "Destination": "/d"}],
    "Empty": [],
    "Rate": 1.5,
    "Label": lambda name: f"<{name}>",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        # docker inspect, "Examples"
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "10.0.0.2 172.17.0.2 "),
        ("{{.Config.Image}}", "debian"),
        (
            "{{range $p, $conf := .HostConfig.PortBindings}}{{if $conf}} {{$p}} -> {{(index $conf 0).HostPort}}{{end}}{{end}}",
            " 80/tcp -> 8080",
        ),
        ('{{(index (index .HostConfig.PortBindings "80/tcp") 0).HostPort}}', "8080"),
        ("{{json .Config.Labels}}", '{"com.x":"1"}'),
        ('{{index .Config.Labels "com.x"}}', "1"),
        # docker documentation, "Format command and log output"
        ('{{join .Config.Cmd " , "}}', "sh , -c , x"),
        ("{{range .Mounts}}{{println .Source .Destination}}{{end}}", "/a /b\n/c /d\n"),
        ("{{json .Mounts}}", '[{"Source":"/a","Destination":"/b"},{"Source":"/c","Destination":"/d"}]'),
        ('{{json (split .Config.Image "b")}}', '["de","ian"]'),
        ('{{lower "ABC"}}{{upper "abc"}}{{title "a bc"}}', "abcABCA Bc"),
        ('{{pad "x" 2 1}}|', "  x |"),
        ('{{truncate "abcdef" 3}}', "abc"),
        # text/template, "Actions", "Variables", "Pipelines"
        ('{{"output"}}{{`"raw"`}}', 'output"raw"'),
        ('{{printf "%q" "output"}}{{"output" | printf "%q"}}', '"output""output"'),
        ('{{printf "%q" (print "out" "put")}}', '"output"'),
        ('{{"put" | printf "%s%s" "out" | printf "%q"}}', '"output"'),
        ('{{with "output"}}{{printf "%q" .}}{{end}}', '"output"'),
        ('{{with $x := "output" | printf "%q"}}{{$x}}{{end}}', '"output"'),
        ('{{with $x := "output"}}{{$x | printf "%q"}}{{end}}', '"output"'),
        ("{{23 -}}   <   {{- 45}}", "23<45"),
        ("{{/* a comment */}}x", "x"),
        ("{{$x := 1}}{{range .Mounts}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{$m.Source}}{{end}}", "/a,/c"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{with .State.Health}}{{.Status}}{{else}}no health{{end}}", "no health"),
        ("{{if not .Config.Tty}}a{{else}}b{{end}}", "a"),
        ('{{if eq .State.Status "paused"}}p{{else if eq .State.Status "exited" "running"}}r{{end}}', "r"),
        ("{{if and .Id (gt .State.Pid 41)}}yes{{end}}", "yes"),
        ("{{or .Empty .Id}} {{and .Id .Empty}}", "abc []"),
        ("{{len .Mounts}} {{len .Id}} {{slice .Id 1 2}} {{index .Config.Cmd 1}}", "2 3 b -c"),
        (
            "{{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 1 2}} {{ne 1 2}} {{eq .Config.Tty 0}}",
            "true true false false true false",
        ),
        (
            '{{printf "%-5s|%5d|%t|%v|%5.2f|%x|%%" .Id .State.Pid .Config.Tty .Config.Cmd .Rate 255}}',
            "abc  |   42|false|[sh -c x]| 1.50|ff|%",
        ),
        (
            '{{printf "%d" "x"}} {{printf "%s"}} {{printf "a" 1}}',
            "%!d(string=x) %!s(MISSING) a%!(EXTRA int=1)",
        ),
        ("{{.Config}}", "map[Cmd:[sh -c x] Image:debian Labels:map[com.x:1] Tty:false]"),
        ("{{.State.Health}} {{json .State.Health}}", "<no value> null"),
        ("{{.Rate}} {{1e3}} {{-2}} {{0x10}}", "1.5 1000 -2 16"),
        ("{{$.Id}} {{range .Mounts}}{{$.Id}}{{end}}", "abc abcabc"),
        # a field of the Go struct is written differently in JSON; a map has any keys
        ("{{.ID}}", "abc"),
        ("{{.Config.Labels.missing}}", "<no value>"),
        ('{{index .Config.Labels "missing"}}', ""),
        ('{{.Label "x"}}', "<x>"),
        ('{{print 1 2 "a" 3}}', "1 2a3"),
        ("{{range 3}}{{.}}{{end}}", "012"),
    ],
)
def test_fills_in(template: str, text: str) -> None:
    """Each form gives what Go gives."""
    assert Template(template).render(CONTAINER) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.X", "template: :1: unclosed action"),
        ("{{foo}}", 'template: :1: function "foo" not defined'),
        ('{{"abc}}', "template: :1: unterminated quoted string"),
        ("{{`abc}}", "template: :1: unterminated raw quoted string"),
        ("{{if .Id}}x", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{else}}", "template: :1: unexpected {{else}}"),
        ("{{(.Id}}", "template: :1: unclosed left paren"),
        ("{{.Id |}}", "template: :1: missing value for command"),
        ("{{if}}x{{end}}", "template: :1: missing value for command"),
        ("{{1x}}", 'template: :1: unexpected "1x" in operand'),
        ("{{)}}", "template: :1: missing value for command"),
    ],
)
def test_says_what_is_wrong_with_a_template(template: str, message: str) -> None:
    """A template that does not parse is refused in one line."""
    with pytest.raises(TemplateError) as caught:
        Template(template)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Foo}}", 'template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
        (
            "{{.State.Health.Status}}",
            'template: :1:2: executing "" at <.State.Health.Status>: nil data; no entry for key "Status"',
        ),
        ("x {{.Id.Y}}", 'template: :1:4: executing "" at <.Id.Y>: can\'t evaluate field Y in type str'),
        (
            "{{index .Mounts 7}}",
            'template: :1:2: executing "" at <index>: error calling index: index out of range: 7',
        ),
        (
            "{{lower 1}}",
            'template: :1:2: executing "" at <lower>: error calling lower: wrong number or type of args',
        ),
        (
            '{{lt 1 "a"}}',
            'template: :1:2: executing "" at <lt>: error calling lt: incompatible types for comparison',
        ),
        ("{{.Id 1}}", 'template: :1:2: executing "" at <.Id>: Id is not a method but has arguments'),
        ("{{$y}}", 'template: :1: undefined variable "$y"'),
        ("{{range .Id}}{{end}}", 'template: :1: executing "": range can\'t iterate over abc'),
    ],
)
def test_says_what_does_not_fit(template: str, message: str) -> None:
    """A template that asks for what is not there is refused in one line."""
    with pytest.raises(TemplateError) as caught:
        Template(template).render(CONTAINER)

    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "plain", 'a "b" \\ c', "tab\tline\nend", "ünï \x01 \x7f"])
def test_quotes_and_unquotes(text: str) -> None:
    """A quoted text reads back as itself."""
    assert unquote(quoted(text)) == text
