"""Do the AWS policies of docs/clusters allow what Ray's launcher, its autoscaler and the storage call, and no more?

Launcher and autoscaler are Ray's own, against moto: each request that they send is held against the policies, as AWS
evaluates a statement (action, resource, conditions; a key that a request lacks fulfils no condition).
"""

import io
import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from datasets_io.ray_private import aws_launcher, launcher_config

ROOT = Path(__file__).parents[1]
HEAD, WORKER, LAUNCHER = "head", "worker", "launcher"
TAG, CLUSTER = "ray-cluster-name", "radsweep"


def statements(name: str) -> list[dict[str, Any]]:
    policy = json.loads((ROOT / f"docs/clusters/iam-{name}.json").read_text(encoding="utf-8"))
    assert policy.keys() == {"Version", "Statement"} and policy["Version"] == "2012-10-17"
    return policy["Statement"]


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@dataclass(frozen=True)
class Request:
    """One right that is asked for. context: condition key -> its value, or values of a key that has many."""

    action: str
    resource: str
    context: dict[str, str | list[str]]


def fulfils(conditions: dict[str, dict[str, Any]], context: dict[str, str | list[str]]) -> bool:
    for operator, keys in conditions.items():
        match = fnmatchcase if operator.endswith("StringLike") else str.__eq__
        for key, allowed in keys.items():
            has = listed(context.get(key, []))
            if not has and not operator.startswith("ForAllValues:"):
                return False
            if not all(any(match(value, pattern) for pattern in listed(allowed)) for value in has):
                return False
    return True


def allowed(name: str, request: Request) -> bool:
    return any(
        any(fnmatchcase(request.action, action) for action in listed(statement["Action"]))
        and any(fnmatchcase(request.resource, resource) for resource in listed(statement["Resource"]))
        and fulfils(statement.get("Condition", {}), request.context)
        for statement in statements(name)
    )


# -- the files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [HEAD, WORKER, LAUNCHER])
def test_a_policy_names_each_action_and_limits_each_resource(name):
    for statement in statements(name):
        assert statement.keys() <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow" and re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
        assert all(re.fullmatch(r"(ec2|iam|s3|ssm):[A-Z][A-Za-z]+", action) for action in listed(statement["Action"]))
        for resource in listed(statement["Resource"]):
            assert resource.startswith("arn:aws:") or statement["Condition"]
            assert resource != "*" or all(action.startswith("ec2:Describe") for action in listed(statement["Action"]))
    assert len({statement["Sid"] for statement in statements(name)}) == len(statements(name))
    size = len(re.sub(r"\s", "", (ROOT / f"docs/clusters/iam-{name}.json").read_text(encoding="utf-8")))
    assert size < 6144, "AWS takes no larger policy"


def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


def test_region_types_profiles_bucket_and_tag_are_those_of_the_cluster_file():
    config = cluster()
    region, types = config["provider"]["region"], config["available_node_types"]
    setup = " ".join(config["setup_commands"])
    bucket, prefix = re.search(r"RADSWEEP_STORAGE=s3://([^/']+)/([^/']+)'", setup).groups()
    for name, starts, hands_on in ((HEAD, "gpu", WORKER), (LAUNCHER, "head", HEAD)):
        found = {statement["Sid"]: statement for statement in statements(name)}
        assert found["LookInTheRegion"]["Condition"] == {"StringEquals": {"aws:RequestedRegion": region}}
        start = found["StartMachinesWithTheTag"]["Condition"]["StringEquals"]
        node = types[starts]["node_config"]
        assert start == {f"aws:RequestTag/{TAG}": config["cluster_name"], "ec2:InstanceType": node["InstanceType"]}
        role = types[hands_on if hands_on == HEAD else "gpu"]["node_config"]["IamInstanceProfile"]["Name"]
        assert found["HandOnTheRole"]["Resource"] == f"arn:aws:iam::*:role/{role}"
        resources = [r for statement in statements(name) for r in listed(statement["Resource"]) if ":ec2:" in r]
        assert resources and {resource.split(":")[3] for resource in resources} == {region}
    for name in (HEAD, WORKER):
        storage = [s for s in statements(name) if any(action.startswith("s3:") for action in listed(s["Action"]))]
        assert [s["Resource"] for s in storage] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{prefix}/*"]
        assert storage[0]["Condition"] == {"StringLike": {"s3:prefix": [prefix, f"{prefix}/*"]}}
    assert config["provider"]["cache_stopped_nodes"] is False  # else Stop and Start would be needed


# -- what Ray calls --------------------------------------------------------------------------------

REGION, ACCOUNT = "us-west-2", "123456789012"


def ec2(kind: str, name: str) -> str:
    return f"arn:aws:ec2:{REGION}:{'' if kind == 'image' else ACCOUNT}:{kind}/{name}"


def asked(operation: str, values: dict[str, Any], tags_of: dict[str, dict[str, str]]) -> Iterator[Request]:
    """The rights that AWS asks for before it does what was called. tags_of: of machines and groups that there are."""
    region = {"aws:RequestedRegion": REGION}
    if operation.startswith("Describe"):
        yield Request(f"ec2:{operation}", "*", region)
    elif operation == "RunInstances":
        (specification,) = values["TagSpecifications"]
        assert specification["ResourceType"] == "instance"
        tags = {tag["Key"]: tag["Value"] for tag in specification["Tags"]}
        given = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        yield Request(f"ec2:{operation}", ec2("instance", "*"), {**given, "ec2:InstanceType": values["InstanceType"]})
        creation = {**given, "aws:TagKeys": [*tags], "ec2:CreateAction": operation}
        yield Request("ec2:CreateTags", ec2("instance", "*"), creation)
        kinds = ["image", "key-pair", "network-interface", "security-group", "subnet", "volume"]
        for kind in kinds + ["spot-instances-request"] * ("InstanceMarketOptions" in values):
            yield Request(f"ec2:{operation}", ec2(kind, "any-1"), {})
        role = f"arn:aws:iam::{ACCOUNT}:role/{values['IamInstanceProfile']['Name']}"
        yield Request("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})
        image = values["ImageId"].removeprefix("resolve:ssm:")
        yield Request("ssm:GetParameters", f"arn:aws:ssm:{REGION}::parameter{image}", {})
    elif operation in ("TerminateInstances", "CreateTags", "AuthorizeSecurityGroupIngress"):
        kind = "security-group" if operation == "AuthorizeSecurityGroupIngress" else "instance"
        context: dict[str, Any] = {"aws:TagKeys": [tag["Key"] for tag in values.get("Tags", [])]}
        for name in values.get("InstanceIds") or values.get("Resources") or [values["GroupId"]]:
            has = {f"aws:ResourceTag/{key}": value for key, value in tags_of[name].items()}
            yield Request(f"ec2:{operation}", ec2(kind, name), {**context, **has})
    elif operation == "CreateSecurityGroup":
        ((specification,), vpc) = values["TagSpecifications"], values["VpcId"]
        given = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in specification["Tags"]}
        yield Request(f"ec2:{operation}", ec2("security-group", "*"), given)
        yield Request("ec2:CreateTags", ec2("security-group", "*"), {**given, "ec2:CreateAction": operation})
        yield Request(f"ec2:{operation}", ec2("vpc", vpc), {})
    elif operation == "CreateKeyPair":
        yield Request(f"ec2:{operation}", ec2("key-pair", values["KeyName"]), {})
    else:
        raise AssertionError(f"Ray calls {operation}: what rights does it need?")


def life_of_a_cluster(calls: list[tuple[str, str, dict]], monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """`ray up`, two workers that come and go, `ray down`. calls: (who, operation, its arguments) are added.

    Returns the tags of what there was.
    """
    import boto3

    complete, provider = aws_launcher()
    who = [LAUNCHER]

    def note(params: dict, model: Any, **_: Any) -> None:
        if model.service_model.service_name != "iam":
            calls.append((who[0], model.name, json.loads(json.dumps(params, default=str))))

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session())
    iam = boto3.client("iam")
    for name in ("radsweep-head", "radsweep-worker"):
        iam.create_instance_profile(InstanceProfileName=name)
    boto3.DEFAULT_SESSION.events.register("before-parameter-build", note)
    monkeypatch.setattr("ray.autoscaler._private.aws.node_provider.TAG_BATCH_DELAY", 0.0)
    monkeypatch.setattr("tempfile.tempdir", str(Path.home()))  # where it keeps what it found
    config = complete(cluster(), no_config_cache=True)
    types = config["available_node_types"]
    labels = {"ray-launch-config": "a", "ray-node-name": "b", "ray-node-status": "uninitialized"}
    launcher = provider(config["provider"], config["cluster_name"])
    launcher.create_node(types["head"]["node_config"], {**labels, "ray-node-kind": "head"}, 1)
    (head,) = launcher.non_terminated_nodes({"ray-node-kind": "head"})
    launcher.set_node_tags(head, {"ray-node-status": "up-to-date", "ray-runtime-config": "c"})
    who[0] = HEAD
    launcher_config(json.loads(json.dumps(config)))  # as the autoscaler does with the file that the launcher left
    autoscaler = provider(config["provider"], config["cluster_name"])
    for _ in range(2):  # moto starts one machine a call
        autoscaler.create_node(types["gpu"]["node_config"], {**labels, "ray-node-kind": "worker"}, 1)
    workers = autoscaler.non_terminated_nodes({"ray-node-kind": "worker"})
    assert len(workers) == 2 and autoscaler.internal_ip(workers[0])
    autoscaler.set_node_tags(workers[0], {"ray-node-status": "up-to-date"})
    autoscaler.terminate_nodes(workers[:1])
    who[0] = LAUNCHER
    launcher.terminate_nodes([head, workers[1]])
    who[0] = "moto"
    client, tags = boto3.client("ec2"), {}
    for group in client.describe_security_groups()["SecurityGroups"]:
        tags[group["GroupId"]] = group.get("Tags", [])
    for reservation in client.describe_instances()["Reservations"]:
        tags.update((machine["InstanceId"], machine["Tags"]) for machine in reservation["Instances"])
    return {name: {tag["Key"]: tag["Value"] for tag in found} for name, found in tags.items()}


def test_rays_launcher_and_autoscaler_are_allowed_all_that_they_call_and_nothing_else(tmp_path, monkeypatch):
    moto = pytest.importorskip("moto")
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_DEFAULT_REGION", REGION)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))  # where the launcher puts the key pair
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    known = pytest.importorskip("moto.ec2.models.instance_types").InstanceTypeBackend
    ours = {node["node_config"]["InstanceType"] for node in cluster()["available_node_types"].values()}
    # Not all 800, which cost seconds.
    monkeypatch.setattr(known, "instance_types", [kind for kind in known.instance_types if kind.name in ours])
    calls: list[tuple[str, str, dict]] = []
    with moto.mock_aws():
        tags = life_of_a_cluster(calls, monkeypatch)
    used: dict[str, set[str]] = {HEAD: set(), LAUNCHER: set()}
    for who, operation, values in calls:
        if who == "moto":
            continue
        for request in asked(operation, values, tags):
            assert allowed(who, request), f"the {who} calls {operation}: {request}"
            used[who].add(request.action)
    granted = {name: {a for s in statements(name) for a in listed(s["Action"])} for name in used}
    assert used[LAUNCHER] == granted[LAUNCHER]
    assert used[HEAD] == {action for action in granted[HEAD] if not action.startswith("s3:")}


START = {f"aws:RequestTag/{TAG}": CLUSTER, "ec2:InstanceType": "g5.12xlarge"}
OURS = {f"aws:ResourceTag/{TAG}": CLUSTER}
SERVICE = {"iam:PassedToService": "ec2.amazonaws.com"}


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("ec2:RunInstances", ec2("instance", "*"), {**START, f"aws:RequestTag/{TAG}": "another"}),
        ("ec2:RunInstances", ec2("instance", "*"), {"ec2:InstanceType": "g5.12xlarge"}),
        ("ec2:RunInstances", ec2("instance", "*"), {**START, "ec2:InstanceType": "p5.48xlarge"}),
        ("ec2:RunInstances", ec2("instance", "*").replace(REGION, "eu-west-1"), START),
        ("ec2:TerminateInstances", ec2("instance", "i-1"), {}),
        ("ec2:TerminateInstances", ec2("instance", "i-1"), {f"aws:ResourceTag/{TAG}": "another"}),
        ("ec2:CreateTags", ec2("instance", "i-1"), {"aws:TagKeys": [TAG]}),
        ("ec2:CreateTags", ec2("instance", "i-1"), {**OURS, "aws:TagKeys": ["owner"]}),
        ("ec2:CreateTags", ec2("volume", "vol-1"), {**OURS, "aws:TagKeys": [TAG]}),
        ("ec2:StopInstances", ec2("instance", "i-1"), OURS),
        ("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "eu-west-1"}),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", SERVICE),
        (
            "iam:PassRole",
            f"arn:aws:iam::{ACCOUNT}:role/radsweep-worker",
            {"iam:PassedToService": "lambda.amazonaws.com"},
        ),
        ("s3:GetObject", "arn:aws:s3:::my-bucket/others/a", {}),
        ("s3:PutObject", "arn:aws:s3:::my-bucket/radsweep-old/a", {}),
        ("s3:ListBucket", "arn:aws:s3:::my-bucket", {}),
        ("s3:ListBucket", "arn:aws:s3:::my-bucket", {"s3:prefix": "others/"}),
        ("s3:DeleteBucket", "arn:aws:s3:::my-bucket", {}),
    ],
)
def test_a_head_may_not(action, resource, context):
    assert not allowed(HEAD, Request(action, resource, context))
    assert not allowed(WORKER, Request(action, resource, context))


def test_a_worker_starts_and_ends_nothing():
    assert allowed(HEAD, Request("ec2:TerminateInstances", ec2("instance", "i-1"), OURS))
    assert all(action.startswith("s3:") for statement in statements(WORKER) for action in listed(statement["Action"]))


# -- what the storage calls ------------------------------------------------------------------------


def right_of(method: str, path: str, query: str) -> Request:
    """The right that S3 asks for before a request, in the words of its documentation."""
    asked_for = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
    _, bucket, *keys = path.split("/", 2)
    if not keys:
        assert method == "GET" and asked_for["list-type"] == "2", f"{method} {path}?{query}: of a whole bucket"
        return Request("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": asked_for["prefix"]})
    action = {
        "GET": "GetObject",
        "HEAD": "GetObject",
        "PUT": "PutObject",
        "POST": "PutObject",
        "DELETE": "DeleteObject",
    }
    if method == "DELETE" and "uploadId" in asked_for:
        return Request("s3:AbortMultipartUpload", f"arn:aws:s3:::{bucket}/{keys[0]}", {})
    return Request(f"s3:{action[method]}", f"arn:aws:s3:::{bucket}/{keys[0]}", {})


@pytest.fixture
def requests(monkeypatch) -> Iterator[tuple[str, list[tuple[str, str, str, bytes]]]]:
    """The address of a server for S3, and what it was asked: (method, path, query, body of a removal)."""
    server = pytest.importorskip("moto.moto_server.threaded_moto_server")
    seen: list[tuple[str, str, str, bytes]] = []

    class Noting(server.DomainDispatcherApplication):
        def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
            query, body = environ["QUERY_STRING"], b""
            if query.split("=")[0] == "delete":
                body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
                environ["wsgi.input"] = io.BytesIO(body)
            seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], query, body))
            return super().__call__(environ, start_response)

    monkeypatch.setattr(server, "DomainDispatcherApplication", Noting)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/my-bucket", method="PUT"), timeout=30)
    seen.clear()
    yield f"s3://my-bucket/radsweep?endpoint_override={host}:{port}&scheme=http", seen
    running.stop()


def test_the_storage_is_allowed_all_that_it_calls(requests):
    from datasets_io.storage.files import Files
    from sweep.doctor.check import OK
    from sweep.doctor.places import check_storage

    uri, seen = requests
    files = Files(uri)
    files.write("a/small", b"x")
    assert files.write_once("a/once", b"y") and not files.write_once("a/once", b"z")
    assert files.read("a/small") == b"x" and not files.exists("a/none") and files.folders("") == ["a"]
    assert len(files.list()) == 2 and files.sizes("a")
    files.move("a", "aside/a")
    files.remove("aside/a/small")
    files.remove("aside")
    files.remove_orphans()
    assert [check.status for check in check_storage(uri)] == [OK, OK]
    used = {"s3:AbortMultipartUpload"}  # where an upload fails
    for method, path, query, body in seen:
        removed = re.findall(r"<Key>([^<]+)</Key>", body.decode())
        wanted = [Request("s3:DeleteObject", f"arn:aws:s3:::my-bucket/{key}", {}) for key in removed]
        for request in wanted or [right_of(method, path, query)]:
            assert allowed(WORKER, request) and allowed(HEAD, request), f"{method} {path}?{query}"
            used.add(request.action)
    assert used == {action for statement in statements(WORKER) for action in listed(statement["Action"])}
