# SPDX-License-Identifier: Apache-2.0
"""The access of each RPC, in one table. A server does not start if an RPC of the contract is missing in it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from qonduit_server.errors import PermissionDenied
from qonduit_server.rpc.auth.principal import Principal, Role


class Access(Enum):
    """Who may call an RPC, and whose objects it may use."""

    PUBLIC = "public"  #: callers without authentication too
    ANY_CALLER = "any caller"  #: every authenticated caller; it concerns the objects of no one
    OWN = "own"  #: every caller, for its own objects and those of its projects, whatever its roles
    READ = "read"  #: the same; operators read the objects of all owners
    OPERATE = "operate"  #: the same, in projects as a member or owner; operators change the objects of all owners
    CHANGE = "change"  #: the same, in projects as a member or owner; admins change the objects of all owners
    OPERATOR = "operator"  #: operators
    ADMIN = "admin"  #: admins


#: The access of each method, by "package.Service/Method". `public_health` and `public_reflection` can restrict theirs.
ACCESS: Final[Mapping[str, Access]] = MappingProxyType(
    {
        "qonduit.v1.AuditService/ListAuditEntries": Access.ADMIN,
        "qonduit.v1.CredentialService/CreateCredential": Access.OWN,
        "qonduit.v1.CredentialService/GetCredential": Access.READ,
        "qonduit.v1.CredentialService/ListCredentials": Access.READ,
        "qonduit.v1.CredentialService/UpdateCredential": Access.OWN,
        "qonduit.v1.CredentialService/DeleteCredential": Access.CHANGE,
        "qonduit.v1.DeploymentService/CreateDeployment": Access.OWN,
        "qonduit.v1.DeploymentService/GetDeployment": Access.READ,
        "qonduit.v1.DeploymentService/ListDeployments": Access.READ,
        "qonduit.v1.DeploymentService/UpdateDeployment": Access.CHANGE,
        "qonduit.v1.DeploymentService/DeleteDeployment": Access.CHANGE,
        "qonduit.v1.DeviceService/GetDevice": Access.ANY_CALLER,
        "qonduit.v1.DeviceService/ListDevices": Access.ANY_CALLER,
        "qonduit.v1.DeviceService/GetDeviceStatus": Access.ANY_CALLER,
        "qonduit.v1.DeviceService/GetDeviceCalibration": Access.ANY_CALLER,
        "qonduit.v1.DeviceService/CompareDevices": Access.OWN,
        "qonduit.v1.DeviceService/RefreshDevices": Access.OPERATOR,
        "qonduit.v1.DeviceService/PauseDevice": Access.OPERATOR,
        "qonduit.v1.DeviceService/ResumeDevice": Access.OPERATOR,
        "qonduit.v1.JobService/CreateJob": Access.OWN,
        "qonduit.v1.JobService/RunJob": Access.OWN,
        "qonduit.v1.JobService/GetJob": Access.READ,
        "qonduit.v1.JobService/ListJobs": Access.READ,
        "qonduit.v1.JobService/CancelJob": Access.OPERATE,
        "qonduit.v1.JobService/UpdateJob": Access.OPERATE,
        "qonduit.v1.JobService/CancelJobs": Access.OPERATE,
        "qonduit.v1.JobService/DeleteJobs": Access.CHANGE,
        "qonduit.v1.JobService/RerunJob": Access.CHANGE,
        "qonduit.v1.JobService/ResolveSubmission": Access.CHANGE,
        "qonduit.v1.JobService/DeleteJob": Access.CHANGE,
        "qonduit.v1.JobService/WatchJob": Access.READ,
        "qonduit.v1.JobService/ListJobEvents": Access.READ,
        "qonduit.v1.ProgramService/TranslateProgram": Access.ANY_CALLER,
        "qonduit.v1.ProgramService/ListLanguages": Access.ANY_CALLER,
        "qonduit.v1.ProjectService/CreateProject": Access.OWN,
        "qonduit.v1.ProjectService/GetProject": Access.READ,
        "qonduit.v1.ProjectService/ListProjects": Access.READ,
        "qonduit.v1.ProjectService/UpdateProject": Access.CHANGE,
        "qonduit.v1.ProjectService/DeleteProject": Access.CHANGE,
        "qonduit.v1.ProjectService/SetProjectMember": Access.CHANGE,
        "qonduit.v1.ProjectService/RemoveProjectMember": Access.CHANGE,
        "qonduit.v1.ProjectService/ListProjectMembers": Access.READ,
        "qonduit.v1.ProviderService/GetProvider": Access.ANY_CALLER,
        "qonduit.v1.ProviderService/ListProviders": Access.ANY_CALLER,
        "qonduit.v1.ProviderService/PauseProvider": Access.OPERATOR,
        "qonduit.v1.ProviderService/ResumeProvider": Access.OPERATOR,
        "qonduit.v1.ResultService/GetResult": Access.READ,
        "qonduit.v1.ResultService/ListResults": Access.READ,
        "qonduit.v1.ResultService/ReadBuffer": Access.READ,
        "qonduit.v1.SystemService/GetServerInfo": Access.ANY_CALLER,
        "qonduit.v1.SystemService/ListWorkers": Access.OPERATOR,
        "qonduit.v1.SystemService/PauseServer": Access.OPERATOR,
        "qonduit.v1.SystemService/ResumeServer": Access.OPERATOR,
        "qonduit.v1.SystemService/ListPauses": Access.OPERATOR,
        "qonduit.v1.SystemService/ListShares": Access.OPERATOR,
        "qonduit.v1.SystemService/SetShare": Access.ADMIN,
        "qonduit.v1.UsageService/ListUsage": Access.READ,
        "qonduit.v1.UsageService/GetQuota": Access.READ,
        "qonduit.v1.UsageService/SetQuota": Access.ADMIN,
        "qonduit.v1.UsageService/ListQuotas": Access.OPERATOR,
        "grpc.health.v1.Health/Check": Access.PUBLIC,
        "grpc.health.v1.Health/List": Access.PUBLIC,
        "grpc.health.v1.Health/Watch": Access.PUBLIC,
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Access.PUBLIC,
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Access.PUBLIC,
    }
)

_REQUIRED: Final = {Access.OPERATOR: Role.OPERATOR, Access.ADMIN: Role.ADMIN}
_EVERYONES: Final = {Access.READ: Role.OPERATOR, Access.OPERATE: Role.OPERATOR, Access.CHANGE: Role.ADMIN}


#: The accesses that depend on the owner of an object, for which the projects of the caller are read.
CONCERNS_OWNERS: Final = frozenset({Access.OWN, Access.READ, Access.OPERATE, Access.CHANGE})


def authorize(access: Access, principal: Principal, method: str) -> bool:
    """Return whether a call may use the objects of all owners.

    Raises:
        PermissionDenied: the principal lacks the role that the method requires.
    """
    required = _REQUIRED.get(access)
    if required is not None and required not in principal.roles:
        raise PermissionDenied(
            f"{method} requires the role {required.value}, which {principal.name} does not have: ask the operator"
        )
    return _EVERYONES.get(access) in principal.roles
