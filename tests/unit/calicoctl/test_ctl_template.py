import pytest

from pycalico.api.meta import ObjectMeta, ResourceList
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.calicoctl.template import TemplateError, render

POOL = IPPool(
    metadata=ObjectMeta(name="p1", labels={"b": "2", "a": "1"}),
    spec=IPPoolSpec(
        cidr="10.1.0.0/16", nat_outgoing=True, block_size=26, allowed_uses=["Workload", "Tunnel"]
    ),
)


def rendered(text, *answers):
    kinds = [(each, "IPPool") for each in answers or [POOL]]
    return render(text, kinds, lambda: "64512")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("hello", "hello"),
        ("{{range .}}{{.Spec.CIDR}} {{.Spec.NATOutgoing}} {{.Spec.BlockSize}}{{end}}", "10.1.0.0/16 true 26"),
        ("{{range .}}{{.Kind}} {{.APIVersion}} {{.Name}}{{end}}", "IPPool projectcalico.org/v3 p1"),
        ('{{range .}}{{join .ObjectMeta.Labels ","}}{{end}}', "a=1,b=2"),
        ('{{range .}}{{joinAndTruncate .Spec.AllowedUses "+" 12}}{{end}}', "Workload+..."),
        ("{{range .}}{{range $i, $u := .Spec.AllowedUses}}{{if $i}}, {{end}}{{$u}}{{end}}{{end}}", "Workload, Tunnel"),
        ("{{range .}}{{if and .Spec.Disabled .Spec.NATOutgoing}}a{{else if .Spec.NATOutgoing}}b{{end}}{{end}}", "b"),
        ('{{config "asNumber"}}', "64512"),
        ('{{range .}}{{with .Spec}}{{.CIDR | printf "%q"}}{{end}}{{end}}', '"10.1.0.0/16"'),
        ("{{range .}}{{index .Spec.AllowedUses 1}} {{len .Spec.AllowedUses}}{{end}}", "Tunnel 2"),
        ("{{range .}}{{if eq .Spec.BlockSize 24 26}}yes{{end}}{{if not .Spec.Disabled}}!{{end}}{{end}}", "yes!"),
        ("a {{- /* comment */ -}} b{{- 1 -}} c", "ab1c"),
        ("{{$x := 1}}{{range .}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ('{{range .}}{{range .Spec.AllowedUses}}{{if eq . "Tunnel"}}{{break}}{{end}}{{.}}{{end}}{{end}}', "Workload"),
        ("{{range .}}{{(index .Spec.AllowedUses 0)}}{{end}}", "Workload"),
        ("{{range .}}{{range .OwnerReferences}}x{{else}}none{{end}}{{end}}", "none"),
        ('{{print 1 2 "x" 3}}', "1 2x3"),
    ],
)  # fmt: skip
def test_actions(template, text):
    assert rendered(template) == text


def test_a_list_has_items():
    listed = ResourceList([POOL], "7")
    assert (
        rendered("{{range .}}{{.Kind}} {{len .Items}} {{.ListMeta.ResourceVersion}}{{end}}", listed)
        == "IPPoolList 1 7"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{range .}", "template: get:1: bad character U+007D '}'"),
        ("{{nope .}}", 'template: get:1: function "nope" not defined'),
        ("{{nope", 'template: get:1: function "nope" not defined'),
        ("{{.Spec", "template: get:1: unclosed action"),
        ("{{/* x }}", "template: get:1: unclosed comment"),
        ("{{/* x */ y}}", "template: get:1: comment ends before closing delimiter"),
        ("{{range .}}", "template: get:1: unexpected EOF"),
        ("x\n{{end}}", "template: get:2: unexpected {{end}}"),
        ("{{if}}{{end}}", "template: get:1: missing value for if"),
        ('{{"a}}', "template: get:1: unterminated quoted string"),
        (
            "{{range .}}{{.Bogus}}{{end}}",
            'template: get:1:13: executing "get" at <.Bogus>: can\'t evaluate field Bogus in type runtime.Object',
        ),
    ],
)
def test_faults_are_told_in_gos_words(template, message):
    with pytest.raises(TemplateError) as caught:
        rendered(template)
    assert str(caught.value) == message


def test_what_was_written_before_the_fault_is_kept():
    with pytest.raises(TemplateError) as caught:
        rendered("{{range .}}{{.Spec.CIDR}}{{.Spec.X}}{{end}}")
    assert caught.value.written == "10.1.0.0/16"


def test_an_empty_list_has_the_kind_that_was_asked_for():
    assert rendered_empty() == "IPPoolList"


def rendered_empty():
    return render("{{range .}}{{.Kind}}{{end}}", [(ResourceList([], "1"), "IPPool")], lambda: "64512")
